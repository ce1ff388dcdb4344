"""The daemon against openapi.yaml: what is documented answers, what is not is 404 or 405."""

import json
import re
import socket

import pytest
import yaml

from programs import CONTRACT, BIN, Daemon

OPERATIONS = [(template, method) for template, method, _ in CONTRACT.operations()]


def concrete(template):
    return re.sub(r"\{[a-z_]+\}", "no-such-thing", template)


def body_for(method, template):
    """A body that is certainly refused, so that nothing is created."""
    if method != "POST":
        return {}
    return {"raw": b"{", "headers": {"Content-Type": "application/json"}}


@pytest.mark.parametrize("template,method", OPERATIONS)
def test_every_documented_operation_is_there(daemon, template, method):
    answer = daemon.call(method, concrete(template), **body_for(method, template))
    assert answer.status != 405
    if answer.status == 404:  # the thing is unknown, not the route
        assert "{" in template
        assert "no-such-thing" in answer.error["message"]


@pytest.mark.parametrize("path", [
    "/v1", "/v1/chat", "/nothing", "/jobs/x/y/z", "/v1/completions/x", "/metrics/x",
    "//v1/models", "/_stainless_unknown_path"])
def test_undocumented_routes_are_404(daemon, path):
    answer = daemon.call("GET", path, documented=False)
    assert answer.status == 404
    CONTRACT.check({"$ref": "#/components/schemas/Error"}, answer.json(), path)


@pytest.mark.parametrize("method,path,allow", [
    ("GET", "/v1/completions", "POST"), ("DELETE", "/v1/models", "GET"), ("POST", "/health", "GET"),
    ("DELETE", "/jobs", "GET, POST"), ("GET", "/jobs/x/cancel", "POST")])
def test_a_wrong_method_is_405_with_allow(daemon, method, path, allow):
    answer = daemon.call(method, path, documented=False)
    assert answer.status == 405
    assert set(re.split(r", *", answer.headers["allow"])) >= set(allow.split(", "))
    CONTRACT.check({"$ref": "#/components/schemas/Error"}, answer.json(), path)


def test_the_daemon_serves_the_committed_document(daemon):
    answer = daemon.call("GET", "/openapi.yaml")
    assert yaml.safe_load(answer.body) == CONTRACT.document


def test_metrics_are_prometheus_text(daemon):
    daemon.complete("x", max_tokens=2)
    answer = daemon.call("GET", "/metrics")
    name = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
    labels = rf'\{{({name}="([^"\\\n]|\\.)*",?)*\}}'
    sample = re.compile(rf"{name}({labels})? (NaN|[+-]?Inf|[0-9.eE+-]+)$")
    lines = answer.body.decode().splitlines()
    assert any(line.startswith("# TYPE") for line in lines)
    samples = [line for line in lines if line and not line.startswith("#")]
    assert samples
    for line in samples:
        assert sample.match(line), line


def test_health_routes_answer(daemon):
    for path in ("/health", "/livez", "/readyz"):
        assert daemon.get(path)["status"] == "ok"


def test_a_request_id_is_echoed_or_made(daemon):
    assert daemon.call("GET", "/health", headers={"X-Request-Id": "abc-1"}).headers[
        "x-request-id"] == "abc-1"
    made = {daemon.call("GET", "/health").headers["x-request-id"] for _ in range(2)}
    assert len(made) == 2
    odd = daemon.call("GET", "/health", headers={"X-Request-Id": "a" * 4000})
    assert odd.headers["x-request-id"] != "a" * 4000


@pytest.mark.parametrize("raw", [b"", b"{", b"[1,2]", b'"x"', b"\xff\xfe{}", b"null",
                                 b'{"prompt": "\xc3"}', b"[" * 100_000,
                                 b'{"prompt": "x", "prompt": ', b'{"prompt": 1e999}'])
def test_broken_json_is_400(daemon, raw):
    answer = daemon.call("POST", "/v1/completions", raw=raw,
                         headers={"Content-Type": "application/json"})
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"
    assert daemon.get("/health") == {"status": "ok"}


def test_a_missing_prompt_is_the_start_of_a_document(daemon):
    texts = [daemon.post("/v1/completions", body | {"temperature": 0})["choices"][0]["text"]
             for body in ({}, {"prompt": None}, {"prompt": ""})]
    assert texts[0] == texts[1] == texts[2]


def test_the_short_route_is_the_same(daemon):
    body = {"prompt": "x", "temperature": 0}
    assert (daemon.post("/completions", body)["choices"] ==
            daemon.post("/v1/completions", body)["choices"])


def raw_exchange(daemon, request):
    """Bytes to the socket, the status line's number back (None: closed without an answer)."""
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=60) as connection:
        connection.sendall(request)
        answer = b""
        while b"\r\n" not in answer:
            piece = connection.recv(65536)
            if not piece:
                return None
            answer += piece
    return int(answer.split()[1])


@pytest.mark.parametrize("headers,statuses", [
    (b"Content-Length: 1099511627776\r\n", {413}),
    (b"Content-Length: -1\r\n", {400, 413, None}),
    (b"Content-Length: 5\r\nContent-Length: 6\r\n", {400}),
    (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", {400}),
    (b"X: " + b"a" * 200_000 + b"\r\n", {400, 413, 414, 431, None}),
    (b"X: y\r\n" * 5000, {400, 413, 431, None}),
])
def test_hostile_framing_is_refused_and_the_daemon_lives(daemon, headers, statuses):
    request = (b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
               b"Content-Type: application/json\r\n" + headers + b"\r\nhello")
    try:
        assert raw_exchange(daemon, request) in statuses
    except ConnectionError:  # cut while we were still sending
        assert None in statuses
    assert daemon.get("/health") == {"status": "ok"}
