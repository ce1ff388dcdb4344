"""The daemon as a program: keys, disconnects, stopping, and bad starts."""

import concurrent.futures
import json
import socket
import subprocess
import time

import pytest

from programs import BIN, CONTRACT, Daemon, clean_environment, metric

USAGE, DATA, NOT_FOUND, UNAVAILABLE = 64, 65, 66, 69


def start_and_fail(*args):
    done = subprocess.run([str(BIN / "tristilld"), *map(str, args)], capture_output=True, text=True,
                          timeout=60, env=clean_environment())
    return done.returncode, done.stdout + done.stderr


# Keys


@pytest.fixture(scope="module")
def guarded(model, tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("guarded"), model, api_key="right-key") as running:
        yield running


@pytest.mark.parametrize("template,method,operation", [
    pytest.param(t, m, o, id=f"{m} {t}") for t, m, o in CONTRACT.operations()])
def test_a_key_is_needed_where_the_contract_says_so(guarded, template, method, operation):
    path = template.replace("{id}", "x").replace("{name}", "x")
    raw = b"{}" if method == "POST" else None
    for headers in ({}, {"Authorization": "Bearer wrong-key"}, {"Authorization": "right-key"}):
        answer = guarded.call(method, path, raw=raw, headers=headers, key="")
        if operation.get("security") == []:
            assert answer.status == 200
        else:
            assert answer.status == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.error["code"] in ("missing_api_key", "invalid_api_key")
    assert guarded.call(method, path, raw=raw).status != 401


def test_the_key_is_not_in_the_log(guarded):
    guarded.call("GET", "/v1/models", headers={"Authorization": "Bearer other-secret"}, key="")
    guarded.get("/v1/models")
    assert "right-key" not in guarded.log_text()
    assert "other-secret" not in guarded.log_text()


# Disconnects and many at once


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.02)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_sequences(daemon, stream):
    before = metric(daemon, "tristill_requests_cancelled_total")
    body = json.dumps({"prompt": [5], "max_tokens": 100000, "n": 16, "ignore_eos": True,
                       "stream": stream, "seed": 1}).encode()
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=60) as connection:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                           b"application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        if stream:
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
        else:
            wait_until(lambda: metric(daemon, "tristill_num_requests_running") > 0)
    wait_until(lambda: metric(daemon, "tristill_num_requests_running") == 0)
    assert metric(daemon, "tristill_requests_cancelled_total") > before


def test_many_at_once_get_what_each_would_get_alone(daemon):
    prompts = [f"def f{i}(x):\n    return x + {i}" for i in range(24)]

    def ask(prompt):
        return daemon.complete(prompt, max_tokens=8, seed=2, logprobs=2)["choices"]

    alone = [ask(prompt) for prompt in prompts]
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        together = list(pool.map(ask, prompts))
    assert together == alone


def test_idle_streams_and_slow_requests_do_not_block_health(daemon):
    slow = []
    try:
        for _ in range(64):
            connection = socket.create_connection(("127.0.0.1", daemon.port), timeout=60)
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Le")
            slow.append(connection)
        assert daemon.get("/health") == {"status": "ok"}
    finally:
        for connection in slow:
            connection.close()


# Stopping


def test_sigterm_ends_with_status_0(own_daemon):
    own_daemon.complete("x", max_tokens=1)
    assert own_daemon.stop() == 0, own_daemon.log_text()


def test_sigterm_lets_a_running_completion_finish(own_daemon):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(own_daemon.complete, [5], max_tokens=200, ignore_eos=True, seed=1)
        wait_until(lambda: running.done() or
                   metric(own_daemon, "tristill_num_requests_running") > 0)
        own_daemon.process.terminate()
        answer = running.result(60)
    assert answer["usage"]["completion_tokens"] == 200
    assert own_daemon.process.wait(60) == 0  # not stop(): a second SIGTERM ends it at once


# What is remembered and guessed

LONG_PROMPT = "def parse(text):\n    for line in text.splitlines():\n" * 8


def test_a_text_is_remembered_from_one_run_to_the_next(model, tmp_path):
    with Daemon(tmp_path / "data", model, args=["--prefix-cache", "disk"]) as daemon:
        first = daemon.complete(LONG_PROMPT, max_tokens=8, temperature=0)
        assert daemon.stop() == 0
        daemon.start()
        second = daemon.complete(LONG_PROMPT, max_tokens=8, temperature=0)
    assert first["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] >= 16
    assert second["choices"] == first["choices"]


def test_a_draft_model_changes_no_answer(tmp_path):
    bodies = [{"prompt": "import os\n", "max_tokens": 40, "temperature": t, "seed": 3}
              for t in (0, 0.8)]
    main, draft = tmp_path / "main.gguf", tmp_path / "draft.gguf"
    for seed, path in enumerate((main, draft)):
        subprocess.run([str(BIN / "tristill-make-test-model"), str(path), str(seed + 1)],
                       check=True)
    with Daemon(tmp_path / "plain", main, args=["--draft-tokens", "0"]) as daemon:
        expected = [daemon.complete(**body)["choices"] for body in bodies]
        assert metric(daemon, "tristill_draft_tokens_rejected_total") == 0
    with Daemon(tmp_path / "drafted", main, args=["--draft-model", str(draft)]) as daemon:
        assert [daemon.complete(**body)["choices"] for body in bodies] == expected
        assert daemon.models() == ["main"]
        assert metric(daemon, "tristill_draft_tokens_rejected_total") > 0


def test_a_draft_model_of_another_tokenizer_does_not_guess(model, tmp_path):
    other = tmp_path / "other.gguf"
    subprocess.run([str(BIN / "tristill-make-test-model"), str(other)], check=True)
    with Daemon(tmp_path / "data", model, args=["--draft-model", str(other)]) as daemon:
        daemon.complete("import os\n", max_tokens=4)
        assert "has another tokenizer" in daemon.log_text()


def test_a_missing_draft_model_is_named(model, tmp_path):
    status, said = start_and_fail("--data", tmp_path / "data", "--model", model, "--draft-model",
                                  tmp_path / "none.gguf")
    assert status == NOT_FOUND
    assert "none.gguf" in said


# Bad starts


@pytest.mark.parametrize("size", [0, 3, 24, 1000, -64])
def test_a_truncated_model_is_refused(model, tmp_path, size):
    bytes_ = model.read_bytes()
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(bytes_[:size])
    code, text = start_and_fail("--port", 0, "--data", tmp_path / "d", "--model", broken)
    assert code == DATA, text
    assert "broken.gguf" in text


def test_a_model_with_a_flipped_header_is_refused(model, tmp_path):
    bytes_ = bytearray(model.read_bytes())
    bytes_[8:16] = b"\xff" * 8  # the number of tensors
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(bytes_)
    code, text = start_and_fail("--port", 0, "--data", tmp_path / "d", "--model", broken)
    assert code == DATA, text


def test_a_missing_model_is_named(tmp_path):
    code, text = start_and_fail("--port", 0, "--data", tmp_path / "d", "--model", "/nowhere/m.gguf")
    assert code == NOT_FOUND, text
    assert "/nowhere/m.gguf" in text


def test_a_busy_port_is_named(daemon, model, tmp_path):
    code, text = start_and_fail("--port", daemon.port, "--data", tmp_path / "d", "--model", model)
    assert code == UNAVAILABLE, text
    assert str(daemon.port) in text


@pytest.mark.parametrize("args", [["--port", "99999"], ["--port", "x"], ["--nonsense"]])
def test_wrong_flags_are_usage_errors(args):
    code, text = start_and_fail(*args)
    assert code == USAGE, text
    assert text.strip()


def test_a_data_directory_has_one_daemon(daemon, model):
    code, text = start_and_fail("--port", 0, "--data", daemon.data, "--model", model)
    assert code in (UNAVAILABLE, 73), text
    assert str(daemon.data) in text
