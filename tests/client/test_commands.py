"""The commands that ask a model or look after a daemon, against a fake one."""

import json
import re

import pytest

from client_program import (CONTRACT, DATA, NOT_FOUND, OK, UNAVAILABLE, USAGE, Terminal,
                            completion, run_on_terminal, tristill)
from fake_daemon import error_answer, json_answer, sse_answer


def lines_answer(*values):
    body = "".join(json.dumps(value) + "\n" for value in values).encode()
    return lambda call: (200, "application/x-ndjson", body)


def text_answer(text):
    return lambda call: (200, "text/plain; version=0.0.4", text.encode())


# complete


def test_complete_prints_a_table_of_log_probabilities(daemon):
    answer = completion("a\x1bb")
    answer["choices"][0]["logprobs"] = {
        "tokens": ["a", "\x1bb"], "token_logprobs": [-0.5, -1.25],
        "top_logprobs": [{"a": -0.5, "é": -2}, None], "text_offset": [1, 2]}
    daemon.on("POST", "/v1/completions", json_answer(answer))
    done = tristill("complete", "p", "--logprobs", "2", "--top-k", "3", "--min-p", "0.1",
                    "--repetition-penalty", "1.5", "--frequency-penalty", "-1",
                    "--presence-penalty", "2", daemon=daemon)
    assert done.stdout == ('a\x1bb\n\nTOKEN      LOGPROB  LIKELIEST\n'
                           '"a"        -0.5000  "a" -0.5000  "é" -2.0000\n'
                           '"\\u001bb"  -1.2500\n'), done.stderr
    body = daemon.calls[0].json()
    CONTRACT.check_request("POST", "/v1/completions", body)
    assert body == {"prompt": "p", "max_tokens": 128, "logprobs": 2, "top_k": 3, "min_p": 0.1,
                    "repetition_penalty": 1.5, "frequency_penalty": -1, "presence_penalty": 2}
    assert tristill("complete", "p", "--logprobs", "2", "--stream", daemon=daemon).returncode == 64


# infill


def infill_events(*texts):
    return [(None, {"content": text, "stop": i + 1 == len(texts)}) for i, text in enumerate(texts)]


def test_infill_of_two_texts_prints_the_middle(daemon):
    daemon.on("POST", "/infill", sse_answer(*infill_events("mid", "dle", ""), done=False))
    done = tristill("infill", "--prefix", "é(", "--suffix", ")", "--max-tokens", "9", "--top-k",
                    "40", "--model", "m", daemon=daemon)
    assert (done.returncode, done.stdout) == (OK, "middle"), done.stderr
    assert daemon.calls[0].json() == {"input_prefix": "é(", "input_suffix": ")", "n_predict": 9,
                                      "top_k": 40, "model": "m", "stream": True}


def test_infill_at_a_place_in_a_file(daemon, tmp_path):
    file, other = tmp_path / "f.py", tmp_path / "g.py"
    file.write_bytes("def é():\r\n    return \r\nend".encode())
    other.write_text("context")
    daemon.on("POST", "/infill", json_answer({"content": "x", "stop": True}))
    done = tristill("infill", "--file", str(file), "--line", "2", "--column", "12", "--extra",
                    str(other), "--json", daemon=daemon)
    assert json.loads(done.stdout) == {"content": "x", "stop": True}
    body = daemon.calls[0].json()
    assert body["input_prefix"] == "def é():\r\n    return "
    assert body["input_suffix"] == "\r\nend"
    assert body["input_extra"] == [{"filename": str(other), "text": "context"}]
    assert body["stream"] is False


@pytest.mark.parametrize("args,exit_code,said", [
    (["--line", "4", "--column", "1"], USAGE, "lines 1 to 3"),
    (["--line", "1", "--column", "5"], USAGE, "columns 1 to 4"),
    (["--line", "1"], USAGE, "--column"), ([], USAGE, "--line"),
    (["--line", "1", "--column", "1", "--prefix", "x"], USAGE, "--prefix"),
    (["--line", "1", "--column", "1", "--extra", "/nowhere"], NOT_FOUND, "/nowhere")])
def test_infill_refuses_a_place_that_is_not_there(daemon, tmp_path, args, exit_code, said):
    file = tmp_path / "f"
    file.write_text("abc\n\n")
    done = tristill("infill", "--file", str(file), *args, daemon=daemon)
    assert done.returncode == exit_code
    assert said in done.stderr
    assert daemon.calls == []


def test_infill_needs_something_to_fill(daemon):
    assert tristill("infill", daemon=daemon).returncode == USAGE


# score


def record(*logprobs):
    n = len(logprobs)
    value = {"tokenizer": "0" * 64, "teacher": "starter", "sampling": "corpus", "prompt_tokens": n,
             "tokens": list(range(n)), "top_logprobs": [None] + [[[1, -0.25]]] * (n - 1),
             "text": "words"}
    CONTRACT.check({"$ref": "#/components/schemas/TraceRecord"}, value, "the fake's record")
    return value, value | {"token_logprobs": list(logprobs), "other_logprobs": [None] * n}


@pytest.fixture
def scorer(daemon):
    """A daemon whose first token has no text."""
    daemon.on("POST", "/detokenize", json_answer({"content": "", "prompt": ""}))
    return daemon


def test_score_prints_how_likely_a_text_is(scorer):
    daemon = scorer
    daemon.on("POST", "/v1/score", lines_answer(record(None, -1.0, -3.0)[1]))
    done = tristill("score", "text", "--model", "m", daemon=daemon)
    assert done.stdout == ("tokens:         3\nscored tokens:  2\nscored bytes:   4\n"
                           "log-likelihood: -4.0000\nperplexity:     7.3891\n"
                           "bits per byte:  1.4427\n"), done.stderr
    assert daemon.calls[1].json() == {"tokens": [0], "model": "m"}
    assert daemon.calls[0].json() == {"prompt": ["text"], "model": "m", "top_logprobs": 0}
    assert daemon.calls[0].headers["accept"] == "application/x-ndjson"


def test_score_counts_no_bytes_of_tokens_without_a_probability(daemon):
    daemon.on("POST", "/v1/score", lines_answer(record(None, -2.0)[1]))
    daemon.on("POST", "/detokenize", json_answer({"content": "de", "prompt": "de"}))
    done = tristill("score", "def", "--json", daemon=daemon)
    assert json.loads(done.stdout)["total"]["scored_bytes"] == 1


def test_score_of_files_writes_traces_that_can_be_uploaded(scorer, tmp_path):
    daemon = scorer
    files, traces = [tmp_path / "a", tmp_path / "b"], tmp_path / "t.jsonl"
    for file in files:
        file.write_text("é!")
    records = record(None, -1.0), record(None, -2.0, -3.0)
    daemon.on("POST", "/v1/score", lines_answer(*(answer for _, answer in records)))
    args = ["score", "--traces", str(traces), "--json"]
    for file in files:
        args += ["--file", str(file)]
    done = tristill(*args, daemon=daemon)
    shown = json.loads(done.stdout)
    assert [one["log_likelihood"] for one in shown["data"]] == [-1, -5]
    assert [one["file"] for one in shown["data"]] == [str(file) for file in files]
    assert shown["total"]["scored_bytes"] == 6
    assert daemon.calls[0].json()["top_logprobs"] == 32
    assert [json.loads(line) for line in traces.read_text().splitlines()] == [
        trace for trace, _ in records]
    table = tristill(*args[:3], *args[4:], daemon=daemon).stdout.splitlines()
    assert table[0].split() == ["FILE", "TOKENS", "SCORED", "BYTES", "LOG-LIKELIHOOD",
                                "PERPLEXITY", "BITS/BYTE"]
    assert table[3].split() == ["total", "5", "3", "6", "-6.0000", "7.3891", "1.4427"]


@pytest.mark.parametrize("answer,said", [
    (lines_answer(), "0 scores for 1 texts"),
    (lines_answer({"object": "odd"}), "something else than scores"),
    (lines_answer(record(None)[1], record(None)[1]), "something else than scores"),
    (lambda call: (200, "application/x-ndjson", b"{\n"), "JSON Lines"),
    (lines_answer({"error": {"message": "the cache is gone"}}), "the cache is gone"),
    (error_answer(404, "no such model"), "no such model")])
def test_score_leaves_no_traces_when_it_fails(daemon, tmp_path, answer, said):
    daemon.on("POST", "/v1/score", answer)
    done = tristill("score", "x", "--traces", str(tmp_path / "t"), daemon=daemon)
    assert done.returncode != OK
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


# tokenize, detokenize


def test_tokenize_prints_ids_counts_and_pieces(daemon):
    daemon.on("POST", "/tokenize", json_answer({"tokens": [1, 20, 300], "count": 3}))
    assert tristill("tokenize", "é", daemon=daemon).stdout == "1 20 300\n"
    assert daemon.calls[0].json() == {"content": "é"}
    assert tristill("tokenize", "--count", daemon=daemon, stdin=b"x").stdout == "3\n"
    daemon.on("POST", "/tokenize", json_answer({"tokens": [
        {"id": 1, "piece": " \x1b"}, {"id": 2, "piece": [195, 10]}]}))
    assert tristill("tokenize", "--pieces", "x", daemon=daemon).stdout == (
        'ID  PIECE\n1   " \\u001b"\n2   \\xC3\\x0A\n')


def test_detokenize_takes_ids_in_any_list(daemon):
    daemon.on("POST", "/detokenize", json_answer({"content": "text", "prompt": "text"}))
    assert tristill("detokenize", "1", "20", daemon=daemon).stdout == "text"
    tristill("detokenize", daemon=daemon, stdin=b"[1,20]\n")
    tristill("detokenize", "-", daemon=daemon, stdin=b" 1 20")
    assert [call.json()["tokens"] for call in daemon.calls] == [[1, 20]] * 3
    for wrong in ("x", "1.5", "-1", "99999999999"):
        done = tristill("detokenize", "1", wrong, daemon=daemon)
        assert done.returncode == USAGE
    assert tristill("tokenize", daemon=daemon, stdin=b"\xff").returncode == DATA


# models


def test_models_show_add_and_remove(daemon):
    model = {"id": "a/b", "object": "model", "created": 1790000000, "owned_by": "tristill",
             "max_model_len": 1024, "meta": {"fim": True, "n_params": 12, "provenance": {
                 "source": "x\x1b"}}}
    daemon.on("GET", "/v1/models/a/b%20c", json_answer(model))
    done = tristill("models", "show", "a/b c", daemon=daemon)
    assert done.stdout == ("model:    a/b\nowner:    tristill\ncreated:  2026-09-21 14:13:20\n"
                           "context:  1024\nfim:      yes\nn_params: 12\nsource:   x\ufffd\n")
    daemon.on("POST", "/models", json_answer({"id": "new", "object": "model"}))
    assert tristill("models", "add", "x.gguf", "--name", "new",
                    daemon=daemon).stdout == "new is served\n"
    assert daemon.calls[1].json() == {"path": "x.gguf", "name": "new"}
    daemon.on("DELETE", "/models/new", json_answer({"id": "new", "deleted": True}))
    assert tristill("models", "remove", "new", daemon=daemon).stdout == "new is served no longer\n"
    tristill("models", "remove", "new", "--delete-file", daemon=daemon)
    assert daemon.calls[-1].path == "/models/new?delete_file=true"
    daemon.on("DELETE", "/models/new", error_answer(404, "no model is called new"))
    assert tristill("models", "remove", "new", daemon=daemon).returncode == NOT_FOUND


# keys


KEY = {"id": "key-1", "object": "api_key", "name": "ci", "scopes": ["infer", "train"],
       "created": 1790000000, "expires_at": None, "requests_per_minute": 60,
       "tokens_per_minute": None}


def test_keys_are_listed_without_secrets(daemon):
    daemon.on("GET", "/keys", json_answer({"object": "list", "data": [KEY]}))
    assert tristill("keys", "list", daemon=daemon).stdout == (
        "ID     NAME  SCOPES       CREATED              EXPIRES  A MINUTE\n"
        "key-1  ci    infer,train  2026-09-21 14:13:20           60 requests\n")


def test_a_new_key_stands_alone_on_standard_output(daemon):
    daemon.on("POST", "/keys", json_answer(KEY | {"key": "sk-secret"}))
    done = tristill("keys", "create", "ci", "--scope", "infer", "--scope", "train", "--expires",
                    "30d", "--tokens-per-minute", "9", daemon=daemon)
    assert done.stdout == "sk-secret\n"
    assert "only time" in done.stderr and "sk-secret" not in done.stderr
    assert daemon.calls[0].json() == {"name": "ci", "scopes": ["infer", "train"],
                                      "expires_in": 2592000, "tokens_per_minute": 9}
    assert tristill("keys", "create", "ci", "--scope", "infer", "--expires", "soon",
                    daemon=daemon).returncode == USAGE
    assert len(daemon.calls) == 1


def test_a_key_is_revoked_by_its_id(daemon):
    daemon.on("DELETE", "/keys/key-1", json_answer({"id": "key-1", "deleted": True}))
    assert tristill("keys", "revoke", "key-1", daemon=daemon).stdout == "revoked key-1\n"


# top, requests


METRICS = """\
vllm:num_requests_running{{model_name="starter"}} 1
vllm:num_requests_waiting{{model_name="starter"}} 2
vllm:kv_cache_usage_perc{{model_name="starter"}} 0.123
vllm:generation_tokens_total{{model_name="starter"}} {tokens}
vllm:time_to_first_token_seconds_bucket{{model_name="starter",le="0.01"}} 98
vllm:time_to_first_token_seconds_bucket{{model_name="starter",le="0.1"}} 100
vllm:time_to_first_token_seconds_bucket{{model_name="starter",le="+Inf"}} 100
"""
SLOTS = [{"id": 0, "n_ctx": 1024, "is_processing": True, "n_prompt_tokens": 40,
          "n_prompt_tokens_processed": 16, "next_token": [{"n_decoded": 0, "n_remain": 20}]},
         {"id": 1, "n_ctx": 1024, "is_processing": False}]


def serve_load(daemon, slots=json_answer(SLOTS)):
    daemon.on("GET", "/v1/models", json_answer({"object": "list", "data": [
        {"id": "starter", "max_model_len": 1024}]}))
    daemon.on("GET", "/metrics", text_answer(METRICS.format(tokens=10)),
              text_answer(METRICS.format(tokens=30)))
    daemon.on("GET", "/slots?model=starter", slots)


def test_top_once_is_one_reading(daemon):
    serve_load(daemon)
    done = tristill("top", "--once", "--interval", "0.01", daemon=daemon)
    assert done.returncode == OK, done.stderr
    assert re.search(r"\nstarter +1024 +1 +2 +12% +\S+\n", done.stdout)
    assert re.search(r"\nfirst token +< 10\.0 ms +55\.0 ms +100\n", done.stdout)
    assert "1 of 2 slots are busy" in done.stdout
    assert re.search(r"\n0 +16/40 +0 +20\n", done.stdout)
    assert tristill("top", "--interval", "0.01", daemon=daemon).returncode == OK, "no terminal"


def test_top_json_gives_rates(daemon):
    serve_load(daemon, error_answer(404, "no such route"))
    done = tristill("top", "--once", "--json", "--interval", "0.01", daemon=daemon)
    load = json.loads(done.stdout)
    assert load["models"][0]["waiting"] == 2
    assert load["models"][0]["decode_tokens_per_second"] > 0
    assert load["models"][0]["prefill_tokens_per_second"] is None
    assert load["latencies"][0]["name"] == "first token"
    assert load["slots"] == {"total": 0, "busy": []}


def test_top_redraws_a_screen_and_gives_it_back(daemon):
    serve_load(daemon)
    with Terminal("top", "--interval", "0.05", daemon=daemon) as terminal:
        terminal.wait_for("\x1b[?1049h")
        terminal.wait_for("slots are busy")
        terminal.wait_for("slots are busy")
        daemon.on("GET", "/v1/models", error_answer(503, "starting"))
        terminal.wait_for("starting")
        terminal.type("q")
        code, rest = terminal.end()
        assert code == OK
        assert rest.endswith("\x1b[?25h\x1b[?1049l")


def test_ctrl_c_gives_the_screen_back_too(daemon):
    serve_load(daemon)
    with Terminal("top", "--interval", "60", daemon=daemon) as terminal:
        terminal.wait_for("slots are busy")
        terminal.type("\x03")
        code, rest = terminal.end()
        assert code == OK
        assert rest.endswith("\x1b[?25h\x1b[?1049l")


def test_top_without_a_daemon_says_so():
    done = tristill("top", "--once", "--server", "http://127.0.0.1:1")
    assert done.returncode == UNAVAILABLE


def test_requests_are_listed_with_their_outcome(daemon):
    timings = {"queued_ms": 0.5, "prefill_ms": 12, "decode_ms": 1500, "total_ms": 1512.5}
    base = {"object": "debug.request", "endpoint": "/v1/completions", "model": "starter",
            "prompt_tokens": 9, "cached_tokens": 4, "generated_tokens": 7, "timings": timings,
            "started_unix_ms": 1790000000123, "cancelled": None, "error": None}
    daemon.on("GET", "/debug/requests?limit=3", json_answer({"object": "list", "data": [
        base | {"id": "r1", "state": "finished", "finished_reasons": {"stop": 1, "length": 1}},
        base | {"id": "r2", "state": "running", "finished_reasons": {}},
        base | {"id": "r3", "state": "finished", "cancelled": "prefill"}]}))
    rows = tristill("requests", "--limit", "3", daemon=daemon).stdout.splitlines()
    assert re.fullmatch(r"r1 +2026-09-21 14:13:20 +/v1/completions +starter +9 +4 +7 +0\.5 ms +"
                        r"12\.0 ms +1\.50 s +length,stop", rows[1])
    assert rows[2].endswith("running")
    assert rows[3].endswith("cancelled in prefill")


# All


@pytest.mark.parametrize("args,method,path", [
    (["models", "list"], "GET", "/v1/models"), (["requests"], "GET", "/debug/requests"),
    (["keys", "list"], "GET", "/keys"), (["tokenize", "x"], "POST", "/tokenize")])
def test_odd_answers_are_shown_as_nothing(daemon, args, method, path):
    for odd in ([], {}, {"data": [1, None, {}], "tokens": {}}, {"data": "x"}):
        daemon.on(method, path, json_answer(odd))
        assert tristill(*args, daemon=daemon).returncode == OK


def test_what_the_daemon_says_cannot_drive_the_terminal(daemon):
    evil = "x\x1b[2J\x9b"
    daemon.on("GET", "/keys", json_answer({"data": [KEY | {"name": evil, "id": evil}]}))
    daemon.on("GET", "/v1/models", error_answer(400, evil))
    daemon.on("POST", "/detokenize", json_answer({"content": evil}))
    daemon.on("POST", "/infill", sse_answer(*infill_events(evil)))
    for args in (["keys", "list"], ["models"], ["detokenize", "1"], ["infill", "--prefix", "p"],
                 ["keys", "list", "--json"]):
        shown, _ = run_on_terminal(args, daemon, 80)
        assert "\x1b" not in shown and "\x9b" not in shown, args
