"""What editors send, as recorded in editors/*.json, and what each of them reads from the answer.

An exchange: method, path, headers, body; copies (sent at once; all answers alike) and answer:
  json    one object                          list    a list of `length` objects
  events  server-sent events; with done the last is [DONE]; the client stops after the first event
          whose `until` is neither null nor false, and what it adds up as `text` is not empty
  none    the client leaves at once; nothing goes on afterwards
reads: what every object or event has, as {at: path, type, value}; last_reads: the last event.
"""

import concurrent.futures
import json
import pathlib
import re

import pytest

from programs import CONTRACT, metric
from test_serving import wait_until

FOLDER = pathlib.Path(__file__).resolve().parent / "editors"
TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list,
         "object": dict}
ABSENT = object()


def exchanges():
    for path in sorted(FOLDER.glob("*.json")):
        for exchange in json.loads(path.read_text())["exchanges"]:
            yield pytest.param(exchange, id=f"{path.stem}-{exchange['name'].replace(' ', '-')}")


def find(value, path):
    """The value at a path of names and positions; ABSENT where there is none."""
    for step in path:
        there = isinstance(value, list) and isinstance(step, int) and step < len(value)
        there = there or (isinstance(value, dict) and step in value)
        if not there:
            return ABSENT
        value = value[step]
    return value


def check_reads(value, reads):
    for read in reads:
        found = find(value, read["at"])
        where = "/".join(map(str, read["at"]))
        assert found is not ABSENT, f"{where} is absent in {value}"
        kind = read["type"]
        if kind.endswith("?") and found is None:
            continue
        right = isinstance(found, TYPES[kind.removesuffix("?")])
        assert right and isinstance(found, bool) == (kind == "boolean"), f"{where}: {found!r}"
        assert found == read.get("value", found), f"{where}: {found!r}"


def events_of(body, exchange):
    """The events that the client reads."""
    data = [block.removeprefix("data: ") for block in body.decode().split("\n\n")
            if block and not block.startswith(":")]
    assert all("\n" not in one for one in data), "an event of several lines or with a name"
    if exchange.get("done"):
        assert data.pop() == "[DONE]"
    events = []
    for one in map(json.loads, data):
        events.append(one)
        if "until" in exchange and find(one, exchange["until"]) not in (ABSENT, None, False):
            break
    return events


def check_events(body, exchange):
    events = events_of(body, exchange)
    assert events
    for event in events:
        check_reads(event, exchange["reads"])
    check_reads(events[-1], exchange.get("last_reads", []))
    if "text" in exchange:
        parts = [find(event, exchange["text"]) for event in events]
        assert "".join(part for part in parts if isinstance(part, str))
    if "indices" in exchange:
        assert sorted({event["choices"][0]["index"] for event in events}) == exchange["indices"]


def check_answer(answer, exchange):
    assert answer.status == 200, answer.body
    if exchange["answer"] == "events":
        return check_events(answer.body, exchange)
    value = answer.json()
    if exchange["answer"] == "list":
        assert isinstance(value, list) and len(value) == exchange["length"]
    for one in value if exchange["answer"] == "list" else [value]:
        check_reads(one, exchange["reads"])
        if "only" in exchange:
            assert sorted(one) == sorted(exchange["only"])
    if "text" in exchange:
        assert find(value, exchange["text"])
    if "matches" in exchange:
        assert re.search(exchange["matches"], answer.body.decode()), answer.body
    if "lines" in exchange:
        assert len(answer.body.splitlines()) == exchange["lines"]


def answered(daemon, route):
    """How many requests of a route have ended, whatever became of them."""
    lines = daemon.call("GET", "/metrics").body.decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines
               if line.startswith("tristill_http_requests_total") and f'route="{route}"' in line)


def leave(daemon, exchange, copies):
    """Sends the requests and closes their connections without reading."""
    before = answered(daemon, exchange["path"])
    for _ in range(copies):
        connection = daemon.connect()
        connection.request(exchange["method"], exchange["path"], json.dumps(exchange["body"]),
                           exchange["headers"])
        connection.close()
    wait_until(lambda: answered(daemon, exchange["path"]) == before + copies)
    wait_until(lambda: metric(daemon, "tristill_num_requests_running") == 0)


@pytest.mark.parametrize("exchange", exchanges())
def test_an_editor_reads_what_it_expects(daemon, exchange):
    if CONTRACT.find(exchange["method"], exchange["path"]) is None:
        pytest.skip("openapi.yaml has no such route")
    copies = exchange.get("copies", 1)
    if exchange["answer"] == "none":
        return leave(daemon, exchange, copies)
    body = json.dumps(exchange["body"]).encode() if "body" in exchange else None

    def ask(_):
        return daemon.call(exchange["method"], exchange["path"], raw=body,
                           headers=exchange["headers"])

    with concurrent.futures.ThreadPoolExecutor(copies) as pool:
        for answer in pool.map(ask, range(copies)):
            check_answer(answer, exchange)
