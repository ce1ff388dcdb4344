#!/usr/bin/env python3
"""What HTTP itself costs and bears, of tristilld and of llama-server in turns, in one run.

    bench/serve_limits.py --ours build/release/bin/tristilld --model OURS.gguf \
        [--llama BUILD/bin/llama-server --llama-model THEIRS.gguf] [--threads 2] [--out NAME.json]

overhead    one keep-alive client on a plain socket, 8 tokens a request: wall time minus the time
            that the server itself says it computed (Server-Timing; llama.cpp's "timings");
            milliseconds. "echo" is the floor of that: as many bytes to another process that sends
            them back, after a pause as long as a generation
health      GET /health every 5 ms while 256 streams are open and generating; milliseconds
disconnect  one place to run in: a long request that is not streamed is hung up on, and a request
            of one token is sent at once: how long until it computes, at most (the time from
            hanging up to its answer, without what the server says it computed for it)
burst       ten times as many requests at once as there are places: how many were answered, how
            many refused with 429, and what Retry-After said over what the accepted of that moment
            waited
"""
import argparse
import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

PLACES = 16
STREAMS = 256


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


class Server:
    def __init__(self, name, command, places):
        self.name, self.places = name, places
        self.port = free_port()
        self.folder = tempfile.TemporaryDirectory()
        fill = {"PORT": str(self.port), "DATA": self.folder.name, "PLACES": str(places)}
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TRISTILL_")}
        self.process = subprocess.Popen([fill.get(part, part) for part in command],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        cwd=self.folder.name, env=environment)
        for _ in range(600):
            try:
                if self.request("GET", "/health")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        sys.exit(f"{name} did not start")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()

    def connect(self, timeout=300):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def request(self, method, path, body=None, connection=None):
        """(status, headers, body, seconds)"""
        own = connection is None
        connection = connection or self.connect()
        data = json.dumps(body) if body is not None else None
        begin = time.perf_counter()
        connection.request(method, path, data, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        seconds = time.perf_counter() - begin
        if own:
            connection.close()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, answer, seconds


def completion(n, prompt, **more):
    return {"prompt": prompt, "max_tokens": n, "n_predict": n, "temperature": 0,
            "ignore_eos": True, "cache_prompt": False, **more}


def computed_ms(headers, body, without=()):
    if "server-timing" in headers:
        parts = [part.strip().split(";dur=") for part in headers["server-timing"].split(",")]
        return sum(float(ms) for name, ms in parts if name not in without)
    timings = json.loads(body)["timings"]
    return timings["prompt_ms"] + timings["predicted_ms"]


class PlainClient:
    """HTTP/1.1 on a socket, without what a client library costs."""

    def __init__(self, port):
        self.port = port
        self.sock = None

    def post(self, path, body):
        """(headers, body, seconds)"""
        data = json.dumps(body).encode()
        head = (f"POST {path} HTTP/1.1\r\nHost: localhost:{self.port}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n")
        while True:
            if self.sock is None:
                self.sock = socket.create_connection(("127.0.0.1", self.port), timeout=60)
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            begin = time.perf_counter()
            self.sock.sendall(head.encode() + data)
            answer = self.read_answer()
            if answer is not None:
                return *answer, time.perf_counter() - begin
            self.sock = None  # the server ended the connection before it read the request

    def read_answer(self):
        received = b""
        while b"\r\n\r\n" not in received:
            more = self.sock.recv(65536)
            if not more:
                return None
            received += more
        head, body = received.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")[1:]
        headers = {k.strip().lower(): v.strip() for k, v in (line.split(":", 1) for line in lines)}
        while len(body) < int(headers["content-length"]):
            body += self.sock.recv(65536)
        return headers, body


def echo_ms(pause_s, n=200):
    """The median round trip to a process that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))
    if os.fork() == 0:
        peer = listener.accept()[0]
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := peer.recv(65536):
            peer.sendall(data)
        os._exit(0)
    client = socket.create_connection(listener.getsockname())
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    took = []
    for _ in range(n):
        time.sleep(pause_s)
        begin = time.perf_counter()
        client.sendall(bytes(500))
        client.recv(65536)
        took.append((time.perf_counter() - begin) * 1000)
    client.close()
    os.wait()
    return statistics.median(took)


def measure_overhead(server, n=300):
    client = PlainClient(server.port)
    rest, total = [], []
    for i in range(n):
        body = completion(8, f"def f{i}(x):\n    return x * {i} +")
        headers, answer, seconds = client.post("/v1/completions", body)
        rest.append(seconds * 1000 - computed_ms(headers, answer))
        total.append(seconds * 1000)
    return {"p50_ms": statistics.median(rest), "p99_ms": percentile(rest, 0.99),
            "request_p50_ms": statistics.median(total),
            "echo_p50_ms": echo_ms(statistics.median(total) / 1000)}


def measure_health(server, seconds=6):
    stop = threading.Event()
    chunks = [0] * STREAMS

    def stream(i):
        with contextlib.suppress(OSError, http.client.HTTPException):  # the server ends first
            read_stream(i)

    def read_stream(i):
        connection = server.connect()
        body = json.dumps(completion(100000, f"class C{i}:\n", stream=True))
        connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        while not stop.is_set() and response.readline():
            chunks[i] += 1
        connection.close()

    threads = [threading.Thread(target=stream, args=(i,), daemon=True) for i in range(STREAMS)]
    for thread in threads:
        thread.start()
    time.sleep(3)
    connection = server.connect(30)
    took = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        took.append(server.request("GET", "/health", connection=connection)[3] * 1000)
        time.sleep(0.005)
    stop.set()
    return {"p50_ms": statistics.median(took), "p99_ms": percentile(took, 0.99),
            "max_ms": max(took), "n": len(took), "streams_that_spoke": sum(c > 0 for c in chunks)}


def measure_disconnect(server, n=200):
    client = PlainClient(server.port)
    probe = completion(1, "x =")
    late = []
    for i in range(n):
        long = server.connect()
        body = json.dumps(completion(4000, f"def g{i}():\n"))
        long.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        time.sleep(0.05)
        begin = time.perf_counter()
        long.sock.close()
        long.close()
        headers, answer, _ = client.post("/v1/completions", probe)
        took_ms = (time.perf_counter() - begin) * 1000
        late.append(took_ms - computed_ms(headers, answer, without=("queue",)))
    return {"p50_ms": statistics.median(late), "p99_ms": percentile(late, 0.99),
            "max_ms": max(late), "n": n}


def measure_burst(server):
    n = 10 * server.places
    start = threading.Barrier(n)

    def ask(i):
        connection = server.connect()
        start.wait()
        begin = time.perf_counter()
        body = completion(64, f"def h{i}(a, b):\n")
        status, headers, answer, seconds = server.request("POST", "/v1/completions", body,
                                                          connection)
        waited = None
        if status == 200 and "server-timing" in headers:
            waited = float(headers["server-timing"].split("dur=")[1].split(",")[0]) / 1000
        predicted = headers.get("retry-after-ms")
        return {"status": status, "seconds": seconds, "began": begin, "waited": waited,
                "predicted": int(predicted) / 1000 if predicted else None}

    with concurrent.futures.ThreadPoolExecutor(n) as pool:
        answers = list(pool.map(ask, range(n)))
    statuses = {}
    for answer in answers:
        statuses[answer["status"]] = statuses.get(answer["status"], 0) + 1
    figures = {"requests": n, "statuses": statuses,
               "slowest_answer_s": max(a["seconds"] for a in answers if a["status"] == 200)}
    waited = [a["waited"] for a in answers if a["waited"] is not None]
    predicted = [a["predicted"] for a in answers if a["predicted"] is not None]
    if waited and predicted:
        # Who is refused would have been the next in line: the last of the accepted waited as long.
        figures["longest_wait_s"] = max(waited)
        figures["predicted_s"] = statistics.median(predicted)
        figures["predicted_over_waited"] = figures["predicted_s"] / figures["longest_wait_s"]
    return figures


def main():
    options = argparse.ArgumentParser(description=__doc__,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--ours", type=pathlib.Path, required=True)
    options.add_argument("--model", type=pathlib.Path, required=True)
    options.add_argument("--llama", type=pathlib.Path)
    options.add_argument("--llama-model", type=pathlib.Path)
    options.add_argument("--threads", default="2")
    options.add_argument("--only", default="overhead,health,disconnect,burst")
    options.add_argument("--out", type=pathlib.Path)
    wanted = options.parse_args()
    ours = [str(wanted.ours.resolve()), "--model", str(wanted.model.resolve()), "--data", "DATA",
            "--port", "PORT", "--threads", wanted.threads, "--max-sequences", "PLACES",
            "--prefix-cache", "off", "--log-level", "error"]
    servers = {"tristilld": (ours, ["--max-queue", "512"], ["--max-queue", "64"])}
    if wanted.llama:
        theirs = [str(wanted.llama.resolve()), "-m", str(wanted.llama_model.resolve()), "--port",
                  "PORT", "-t", wanted.threads, "-np", "PLACES", "--threads-http", "300",
                  "--no-webui", "-c", "16384"]
        servers["llama-server"] = (theirs, [], [])
    measures = {"overhead": (measure_overhead, 1, 1), "health": (measure_health, PLACES, 1),
                "disconnect": (measure_disconnect, 1, 1), "burst": (measure_burst, PLACES, 2)}
    results = {}
    for figure in wanted.only.split(","):
        measure, places, extra = measures[figure]
        for name, command in servers.items():
            with Server(name, command[0] + command[extra], places) as server:
                results.setdefault(figure, {})[name] = measure(server)
            print(figure, name, json.dumps(results[figure][name]), flush=True)
    if wanted.out:
        wanted.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
