#!/usr/bin/env python3
"""Time from the start of tristilld to the first streamed token, and its resident memory.

  bench/start_to_first_token.py [--bin build/release/bin] [--model assets/starter.gguf] [--runs 9]
"""

import argparse
import http.client
import json
import pathlib
import socket
import statistics
import subprocess
import tempfile
import time


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def first_token(port):
    """Connects as soon as the port answers, and returns at the first event with text."""
    body = json.dumps({"prompt": "def main():\n", "max_tokens": 4, "temperature": 0,
                       "stream": True})
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("POST", "/v1/completions", body,
                               {"Content-Type": "application/json"})
            break
        except ConnectionRefusedError:
            time.sleep(0.001)
    answer = connection.getresponse()
    while line := answer.readline():
        if line.startswith(b"data: {"):
            return


def resident_mb(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def run(binary, model):
    port = free_port()
    with tempfile.TemporaryDirectory() as data:
        started = time.perf_counter()
        daemon = subprocess.Popen(
            [binary, "--port", str(port), "--data", data, "--model", model],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        first_token(port)
        seconds = time.perf_counter() - started
        memory = resident_mb(daemon.pid)
        daemon.terminate()
        daemon.wait()
    return seconds * 1000, memory


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", default="build/release/bin")
    parser.add_argument("--model", default="assets/starter.gguf")
    parser.add_argument("--runs", type=int, default=9)
    args = parser.parse_args()
    results = [run(f"{args.bin}/tristilld", args.model) for _ in range(args.runs)]
    times = [time_ms for time_ms, _ in results]
    print(json.dumps({
        "model": args.model,
        "start_to_first_token_ms": {"median": round(statistics.median(times), 1),
                                    "min": round(min(times), 1), "max": round(max(times), 1)},
        "resident_mb": round(statistics.median(memory for _, memory in results), 1)}))


if __name__ == "__main__":
    main()
