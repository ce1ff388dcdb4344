"""Traces: stored whole or refused by line, and learnt from by a job that names them."""

import hashlib
import json
import pathlib

import pytest

from gguf_tokenizer import serialized_tokenizer
from programs import BIN

NDJSON = {"Content-Type": "application/x-ndjson"}


def upload(daemon, name, raw):
    return daemon.call("POST", f"/traces?name={name}", raw=raw, headers=NDJSON)


def test_uploads_add_up_and_sets_are_listed(own_daemon, trace_lines):
    first = upload(own_daemon, "set-a", trace_lines(3)).json()
    assert (first["id"], first["records"], first["tokens"], first["scored_tokens"]) == (
        "set-a", 3, 24, 21)
    assert upload(own_daemon, "set-a", trace_lines(2)).json()["records"] == 5
    upload(own_daemon, "set-b", trace_lines(1))
    assert [s["id"] for s in own_daemon.get("/traces")["data"]] == ["set-a", "set-b"]
    assert own_daemon.get("/traces/set-a")["records"] == 5
    assert own_daemon.call("DELETE", "/traces/set-b").status == 200
    assert own_daemon.call("GET", "/traces/set-b").status == 404
    assert [s["id"] for s in own_daemon.get("/traces")["data"]] == ["set-a"]


def test_a_set_has_one_tokenizer(own_daemon, trace_lines):
    upload(own_daemon, "pure", trace_lines(1, tokenizer="a" * 64))
    answer = upload(own_daemon, "pure", trace_lines(1, tokenizer="b" * 64))
    assert answer.status == 409
    assert "tokenizer" in answer.error["message"]
    assert own_daemon.get("/traces/pure")["records"] == 1


@pytest.mark.parametrize("change,field", [
    ({"tokens": []}, "tokens"), ({"tokens": [1, -2]}, "tokens"), ({"tokens": "x"}, "tokens"),
    ({"top_logprobs": [None]}, "top_logprobs"), ({"sampling": "hot"}, "sampling"),
    ({"tokenizer": "xyz"}, "tokenizer"), ({"frobnicate": 1}, "frobnicate"),
    ({"prompt_tokens": 99}, "prompt_tokens"),
    ({"top_logprobs": [None] + [[[5, 0.5]]] * 7}, "top_logprobs"),
    ({"top_logprobs": [None] + [[[5, -1.0], [5, -2.0]]] * 7}, "top_logprobs"),
])
def test_a_bad_line_refuses_the_whole_upload(own_daemon, trace_lines, change, field):
    lines = trace_lines(4).splitlines()
    lines[2] = json.dumps(json.loads(lines[2]) | change).encode()
    answer = upload(own_daemon, "bad", b"\n".join(lines) + b"\n")
    assert answer.status == 400
    told = answer.error["message"] + " " + (answer.error["param"] or "")
    assert "line 3" in told and field in told
    assert own_daemon.call("GET", "/traces/bad").status == 404


@pytest.mark.parametrize("name", ["", "..", "a%2Fb", "a%00b", "x" * 65, ".hidden"])
def test_names_are_not_paths(own_daemon, trace_lines, name):
    answer = upload(own_daemon, name, trace_lines(1))
    assert answer.status == 400
    assert answer.error["param"] == "name"
    assert own_daemon.get("/traces")["data"] == []


@pytest.mark.parametrize("raw", [b"", b"\n\n", b"{", b"[]\n", b"\xff\n", b"null\n"])
def test_what_is_not_json_lines_is_refused(own_daemon, raw):
    assert upload(own_daemon, "bad", raw).status == 400


@pytest.mark.skipif(not (BIN / "tristill-worker").exists(), reason="tristill-worker is not built")
def test_a_job_learns_from_traces(own_daemon, model, trace_lines, small_job):
    """The student takes the served model's tokenizer, whose fingerprint the traces name."""
    tokenizer, vocab_size = serialized_tokenizer(model)
    fingerprint = hashlib.sha256(tokenizer).hexdigest()
    assert own_daemon.get(f"/v1/models/{model.stem}")["meta"]["tokenizer"] == fingerprint
    upload(own_daemon, "lesson", trace_lines(200, tokenizer=fingerprint, length=64))
    body = small_job(own_daemon, "pupil", 12, tokenizer={"from_model": model.stem})
    body["model"]["vocab_size"] = vocab_size
    body["data"]["traces"] = ["lesson"]
    job = own_daemon.wait_job(own_daemon.post("/jobs", body)["id"])
    assert job["status"] == "succeeded", (job["error"], own_daemon.log_text())
    events = own_daemon.all_events(job["id"]).values()
    kd = [e["data"]["kd"] for e in events if e["type"] == "metrics" and "kd" in e["data"]]
    assert any(value > 0 for value in kd), "nothing was learnt from the teacher's probabilities"
    assert own_daemon.complete("x", model="pupil", max_tokens=2)["choices"]


@pytest.mark.skipif(not (BIN / "tristill-worker").exists(), reason="tristill-worker is not built")
def test_traces_of_another_tokenizer_fail_the_job_by_name(own_daemon, trace_lines, small_job):
    upload(own_daemon, "foreign", trace_lines(3, tokenizer="a" * 64))
    body = small_job(own_daemon, "confused", 5)
    body["data"]["traces"] = ["foreign"]
    answer = own_daemon.call("POST", "/jobs", body)
    if answer.status == 200:
        job = own_daemon.wait_job(answer.json()["id"])
        assert job["status"] == "failed"
        told = job["error"]["message"]
    else:
        assert answer.status == 400
        told = answer.error["message"]
    assert "tokenizer" in told
    assert own_daemon.get("/health") == {"status": "ok"}
