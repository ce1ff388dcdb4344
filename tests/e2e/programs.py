"""The real programs as objects: a tristilld with its data directory, and its workers.

A Daemon is used by one test at a time, or shared where tests only ask it. Every answer that comes
through call() is held against openapi.yaml.
"""

import dataclasses
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

from openapi_contract import Contract, SOURCE

BIN = pathlib.Path(os.environ.get("TRISTILL_BIN", SOURCE / "build/release/bin")).resolve()
CONTRACT = Contract.load()
START_SECONDS = 60
FINAL = ("succeeded", "failed", "cancelled")


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict
    body: bytes

    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json()["error"]


def clean_environment(**extra):
    return {k: v for k, v in os.environ.items() if not k.startswith("TRISTILL_")} | extra


class Daemon:
    """tristilld on a free port of 127.0.0.1; `with` stops it. Restart keeps the data directory."""

    def __init__(self, data, model=None, api_key=None, args=(), **environment):
        self.data = pathlib.Path(data)
        self.model = model
        self.api_key = api_key
        self.args = list(args)
        self.environment = environment
        self.process = None
        self.log = []

    def command(self, port=0):
        command = [str(BIN / "tristilld"), "--host", "127.0.0.1", "--port", str(port), "--data",
                   str(self.data)]
        return command + (["--model", str(self.model)] if self.model else []) + self.args

    def start(self, port=0):
        extra = {"TRISTILL_API_KEY": self.api_key} if self.api_key else {}
        env = clean_environment(**extra, **self.environment)
        self.process = self.popen(self.command(port), stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, env=env, text=True, errors="replace")
        self.url = None
        listening = threading.Event()
        process = self.process

        def read():
            for line in process.stdout:
                self.log.append(line)
                found = re.search(r"listening.*\burl=\"?((https?://|unix:)\S+?)\"?(\s|$)", line)
                if found:
                    self.url = found.group(1).rstrip("/")
                    listening.set()
            listening.set()  # it ended

        self.reader = threading.Thread(target=read, daemon=True)
        self.reader.start()
        listening.wait(START_SECONDS)
        if self.url is None:
            self.kill()
            raise AssertionError("tristilld did not start:\n" + self.log_text())
        port = self.url.rsplit(":", 1)[1]
        self.port = int(port) if port.isdigit() else None  # of a Unix socket
        return self

    def popen(self, command, **more):
        return subprocess.Popen(command, **more)

    def log_text(self):
        return "".join(self.log[-200:])

    def kill(self):
        """kill -9, as a power cut would."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        self.reader.join(30)

    def stop(self):
        """SIGTERM; its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("tristilld does not stop:\n" + self.log_text()) from None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()
        for pid in self.worker_pids():
            os.kill(pid, signal.SIGKILL)

    def connect(self, timeout=120):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def headers(self, key=None):
        key = self.api_key if key is None else key
        return {"Authorization": f"Bearer {key}"} if key else {}

    def call(self, method, path, body=None, *, raw=None, headers=None, valid=True, key=None,
             documented=True, timeout=120):
        """One request. body is sent as JSON, raw as it is; valid=False says that the body breaks
        the contract on purpose; documented=False that the route is not part of it."""
        sent = self.headers(key) | (headers or {})
        data = raw
        if body is not None:
            data = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
            if valid:
                CONTRACT.check_request(method, path, body)
        connection = self.connect(timeout)
        connection.request(method, path, data, sent)
        response = connection.getresponse()
        answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()},
                        response.read())
        connection.close()
        assert answer.headers.get("x-request-id"), f"{method} {path}: no x-request-id"
        if documented:
            CONTRACT.check_response(method, path, answer.status,
                                    answer.headers.get("content-type", ""), answer.body)
        return answer

    def get(self, path):
        answer = self.call("GET", path)
        assert answer.status == 200, answer.body
        return answer.json()

    def post(self, path, body=None):
        answer = self.call("POST", path, body)
        assert answer.status == 200, answer.body
        return answer.json()

    def complete(self, prompt, **fields):
        return self.post("/v1/completions", {"prompt": prompt, **fields})

    def models(self):
        return [model["id"] for model in self.get("/v1/models")["data"]]

    # Jobs

    def stream_events(self, job_id, last_event_id=None, timeout=120):
        """Events of a job's stream as (id, event), until [DONE] or the daemon's death."""
        headers = self.headers() | ({"Last-Event-ID": last_event_id} if last_event_id else {})
        connection = self.connect(timeout)
        try:
            connection.request("GET", f"/jobs/{job_id}/events?stream=true", headers=headers)
            response = connection.getresponse()
            assert response.status == 200, response.read()
            assert response.getheader("content-type").startswith("text/event-stream")
            event_id, data = None, []
            while True:
                try:
                    line = response.readline()
                except (ConnectionError, http.client.IncompleteRead):
                    return
                if not line:
                    return
                line = line.decode().rstrip("\r\n")
                if line.startswith("id:"):
                    event_id = line[3:].strip()
                elif line.startswith("data:"):
                    data.append(line[5:].removeprefix(" "))
                elif not line and data:
                    text, data = "\n".join(data), []
                    if text == "[DONE]":
                        return
                    event = json.loads(text)
                    CONTRACT.check({"$ref": "#/components/schemas/JobEvent"}, event, "event")
                    yield event_id, event
        finally:
            connection.close()

    def wait_event(self, job_id, wanted, timeout=120):
        """The first event that wanted() likes, and all before it, as a list of (id, event)."""
        seen = []
        for event_id, event in self.stream_events(job_id, timeout=timeout):
            seen.append((event_id, event))
            if wanted(event):
                return seen
        raise AssertionError(f"the job ended before the event; it said {seen[-5:]}\n" +
                             self.log_text())

    def wait_job(self, job_id, timeout=120):
        """The job once it has ended."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for _ in self.stream_events(job_id, timeout=timeout):
                pass
            job = self.get(f"/jobs/{job_id}")
            if job["status"] in FINAL:
                return job
        raise AssertionError(f"job {job_id} did not end: {job}\n{self.log_text()}")

    def all_events(self, job_id):
        """Every stored event by id, over all pages."""
        events, after = {}, ""
        while True:
            page = self.get(f"/jobs/{job_id}/events?limit=100{after}")
            for event in page["data"]:
                assert event["id"] not in events, "a page repeats an event"
                events[event["id"]] = event
            if not page["has_more"]:
                return events
            after = f"&after={page['data'][-1]['id']}"

    def worker_pids(self):
        """Live tristill-worker processes whose job directory is in this daemon's data."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
                where = os.readlink(entry / "cwd")
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            mine = str(self.data) in where or str(self.data).encode() in b" ".join(command)
            if command[0].endswith(b"tristill-worker") and mine and state != "Z":
                found.append(int(entry.name))
        return found


def metric(daemon, name):
    """The sum of a metric over its labels, 0 when it is absent."""
    answer = daemon.call("GET", "/metrics")
    total = 0.0
    for line in answer.body.decode().splitlines():
        found = re.match(re.escape(name) + r"(\{.*\})? (\S+)", line)
        total += float(found.group(2)) if found else 0.0
    return total
