#!/usr/bin/env python3
"""What the faster settings cost in quality: bits per byte of Python's own library, by the daemon.

    bench/settings_quality.py --daemon build/release/bin/tristilld --model assets/starter.gguf

Scores the same pieces of text (echo with log-probabilities) under each combination of `head` and
`kv_format`. The pieces begin at a line and are as long as fits the model's context.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request

PORT = 8193
PIECE_BYTES = 1500
SETTINGS = [("int8", "fp16"), ("int4", "fp16"), ("int8", "int8"), ("int4", "int8")]


def pieces(n):
    """From files spread over the standard library."""
    folder = pathlib.Path(sysconfig.get_paths()["stdlib"])
    files = sorted(path for path in folder.glob("*.py") if path.stat().st_size > 4 * PIECE_BYTES)
    for path in files[::max(1, len(files) // n)][:n]:
        lines = path.read_text().splitlines(keepends=True)
        text = "".join(lines[len(lines) // 3:])
        yield text[:PIECE_BYTES]


def score(text):
    """(negative log-likelihood in bits, bytes) of the text without its first token."""
    body = json.dumps({"prompt": text, "max_tokens": 0, "echo": True, "logprobs": 0}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/v1/completions", body,
                                     {"Content-Type": "application/json"})
    logprobs = json.load(urllib.request.urlopen(request))["choices"][0]["logprobs"]
    first = len(logprobs["tokens"][0].encode())
    nats = -sum(value for value in logprobs["token_logprobs"] if value is not None)
    return nats / math.log(2), len(text.encode()) - first


def measure(args, head, kv_format, folder):
    command = [args.daemon, "--data", folder, "--port", PORT, "--model", args.model, "--head", head,
               "--kv-format", kv_format, "--log-level", "error"]
    daemon = subprocess.Popen([str(part) for part in command])
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{PORT}/readyz", timeout=1)
                break
            except OSError:
                time.sleep(0.1)
        scores = [score(text) for text in pieces(args.pieces)]
    finally:
        daemon.terminate()
        daemon.wait()
    return sum(bits for bits, _ in scores) / sum(size for _, size in scores)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--daemon", required=True, type=pathlib.Path)
    parser.add_argument("--model", required=True, type=pathlib.Path)
    parser.add_argument("--pieces", type=int, default=60)
    args = parser.parse_args()
    print("| head | kv_format | bits per byte | more |\n|---|---|---|---|")
    first = None
    for head, kv_format in SETTINGS:
        with tempfile.TemporaryDirectory() as folder:
            value = measure(args, head, kv_format, folder)
        first = first or value
        print(f"| {head} | {kv_format} | {value:.4f} | {100 * (value / first - 1):+.2f} % |",
              flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
