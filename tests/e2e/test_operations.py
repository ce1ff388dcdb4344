"""The daemon as it is operated: metrics, logs, reloads, models that come and go, and systemd."""

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

from programs import BIN, Daemon, clean_environment, metric
from openapi_contract import SOURCE


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.02)


def make_model(path, seed):
    subprocess.run([str(BIN / "tristill-make-test-model"), str(path), str(seed)], check=True)
    return path


def put_model(daemon, name, seed):
    """A whole new file in the place of DATA/models/NAME.gguf."""
    fresh = make_model(daemon.data / f".{name}.new", seed)
    fresh.rename(daemon.data / "models" / f"{name}.gguf")


# Metrics


def parsed(daemon):
    """Families by name, read by the parser of Prometheus' own Python client."""
    parser = pytest.importorskip("prometheus_client.parser")
    text = daemon.call("GET", "/metrics").body.decode()
    families = {}
    for family in parser.text_string_to_metric_families(text):
        assert family.name not in families, f"{family.name} is exported twice"
        assert family.documentation, family.name
        families[family.name] = family
    return families


def test_metrics_are_read_by_prometheus_own_parser(daemon):
    daemon.complete("x", max_tokens=4, ignore_eos=True)
    families = parsed(daemon)
    for name, kind in [("vllm:prompt_tokens", "counter"), ("vllm:num_preemptions", "counter"),
                       ("vllm:num_requests_running", "gauge"),
                       ("vllm:kv_cache_usage_perc", "gauge"),
                       ("vllm:time_to_first_token_seconds", "histogram"),
                       ("vllm:request_success", "counter"), ("process_cpu_seconds", "counter"),
                       ("process_resident_memory_bytes", "gauge"),
                       ("tristill_engine_steps", "counter"),
                       ("tristill_model_ternary_share", "gauge")]:
        assert families[name].type == kind, name
        assert families[name].samples, name


def counters(families):
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families.values() if family.type in ("counter", "histogram")
            for sample in family.samples if not sample.name.endswith("_sum")}


def test_counters_only_grow_also_when_a_model_is_replaced(model, tmp_path):
    with Daemon(tmp_path / "data") as daemon:
        put_model(daemon, "m", 1)
        daemon.post("/models", {"path": "m.gguf"})
        seen = counters(parsed(daemon))
        steps = 0
        for seed in (2, 3):
            daemon.complete("x", max_tokens=5, ignore_eos=True)
            put_model(daemon, "m", seed)
            daemon.post("/models", {"path": "m.gguf"})
            now = counters(parsed(daemon))
            assert now.keys() >= seen.keys()
            assert all(now[key] >= value for key, value in seen.items())
            seen = now
            assert metric(daemon, "tristill_engine_steps_total") > steps
            steps = metric(daemon, "tristill_engine_steps_total")


# As the tests of vLLM count: n requests of k tokens.
def test_completions_are_counted_under_vllms_names(own_daemon):
    n, k = 4, 7
    for _ in range(n):
        own_daemon.complete([5, 6, 7], max_tokens=k, ignore_eos=True)
    expected = {"time_to_first_token_seconds_count": n,
                "inter_token_latency_seconds_count": n * (k - 1),
                "request_time_per_output_token_seconds_count": n,
                "e2e_request_latency_seconds_count": n, "request_queue_time_seconds_count": n,
                "request_inference_time_seconds_count": n, "request_prefill_time_seconds_count": n,
                "request_decode_time_seconds_count": n, "request_prompt_tokens_sum": n * 3,
                "request_prompt_tokens_count": n, "request_generation_tokens_sum": n * k,
                "request_generation_tokens_count": n, "request_params_n_sum": n,
                "request_params_n_count": n, "request_params_max_tokens_sum": n * k,
                "request_params_max_tokens_count": n, "prompt_tokens_total": n * 3,
                "generation_tokens_total": n * k, "request_success_total": n,
                "prefix_cache_queries_total": n * 3}
    assert {name: metric(own_daemon, "vllm:" + name) for name in expected} == expected


# The flight recorder and the log


def test_a_request_is_found_by_its_id_in_the_recorder_and_in_the_log(own_daemon):
    answer = own_daemon.call("POST", "/v1/completions",
                             {"prompt": "very secret", "max_tokens": 3, "ignore_eos": True},
                             headers={"X-Request-Id": "find-me"})
    assert re.fullmatch(r"queue;dur=[\d.]+, prefill;dur=[\d.]+, decode;dur=[\d.]+",
                        answer.headers["server-timing"])
    kept = own_daemon.get("/debug/requests/find-me")
    assert kept["state"] == "finished" and kept["status"] == 200
    assert kept["generated_tokens"] == 3 and kept["finished_reasons"] == {"length": 1}
    assert own_daemon.get("/debug/requests?limit=1")["data"][0]["id"] == "find-me"
    line = next(line for line in own_daemon.log if "request=find-me" in line)
    assert " generated_tokens=3 " in line and " model=" in line and " queued_ms=" in line
    assert "very secret" not in own_daemon.log_text() + json.dumps(kept)


def test_a_running_request_is_seen(own_daemon):
    body = json.dumps({"prompt": [5], "max_tokens": 100000, "n": 16, "ignore_eos": True,
                       "stream": True, "seed": 1})
    connection = own_daemon.connect()
    connection.request("POST", "/v1/completions", body,
                       {"Content-Type": "application/json", "X-Request-Id": "running"})
    response = connection.getresponse()
    assert response.status == 200
    kept = own_daemon.get("/debug/requests/running")
    if kept["state"] == "running":  # it may have been quick
        assert kept["n"] == 16 and kept["stream"] is True and kept["finished_reasons"] == {}
    response.close()
    connection.close()
    wait_until(lambda: own_daemon.get("/debug/requests/running")["state"] == "finished")


def test_a_failed_start_is_logged_as_json_where_that_is_wanted(tmp_path):
    done = subprocess.run([str(BIN / "tristilld"), "--log-format", "json", "--data",
                           str(tmp_path / "data"), "--model", "/nowhere/\"m\".gguf"],
                          capture_output=True, text=True, timeout=60, env=clean_environment())
    line = json.loads(done.stderr.splitlines()[-1])
    assert line["level"] == "error" and line["msg"] == "cannot start"
    assert '/nowhere/"m".gguf' in line["reason"]
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d$", line["ts"])


# Reloads


def logged(daemon, text):
    return any(text in line for line in list(daemon.log))


def reload(daemon):
    before = sum("reloaded" in line for line in list(daemon.log))
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: sum("reloaded" in line for line in list(daemon.log)) > before)


def test_sighup_takes_over_settings_and_models(model, tmp_path):
    config = tmp_path / "server.json"
    config.write_text(json.dumps({"log_level": "info"}))
    with Daemon(tmp_path / "data", model, args=["--config", str(config)]) as daemon:
        served = daemon.models()
        put_model(daemon, "extra", 7)
        config.write_text(json.dumps({"log_level": "debug", "log_format": "json", "max_queue": 3,
                                      "model_alias": ["gpt-3.5-turbo-instruct=extra"]}))
        reload(daemon)
        assert sorted(daemon.models()) == sorted(served + ["extra"])
        answer = daemon.post("/v1/completions", {"model": "gpt-3.5-turbo-instruct", "prompt": "x"})
        assert answer["model"] == "extra"
        wait_until(lambda: logged(daemon, '"path":"/v1/completions"'))
        start = next(i for i, line in enumerate(daemon.log) if line.startswith("{"))
        lines = [json.loads(line) for line in daemon.log[start:]]
        assert any(line.get("setting") == "max_queue" for line in lines)
        completion = next(line for line in lines if line.get("path") == "/v1/completions")
        assert completion["status"] == 200 and completion["model"] == "extra"
        assert isinstance(completion["decode_ms"], float)
        daemon.get("/health")
        wait_until(lambda: logged(daemon, '"path":"/health"'))  # of level debug


def test_sighup_with_a_broken_configuration_changes_nothing(model, tmp_path):
    config = tmp_path / "server.json"
    config.write_text("{}")
    with Daemon(tmp_path / "data", model, args=["--config", str(config)]) as daemon:
        served = daemon.models()
        put_model(daemon, "extra", 7)
        for broken in ("{", '{"log_level": "loud"}', '{"prot": 1}'):
            config.write_text(broken)
            reload(daemon)
            assert daemon.models() == served
        assert "settings not reloaded" in daemon.log_text() and "prot" in daemon.log_text()


def test_a_removed_model_comes_back_with_a_restart_unless_its_file_goes(model, tmp_path):
    with Daemon(tmp_path / "data", model) as daemon:
        served = daemon.models()
        for name in ("kept", "gone"):
            put_model(daemon, name, 7)
            daemon.post("/models", {"path": f"{name}.gguf"})
        assert daemon.call("DELETE", "/v1/models/kept").json() == {
            "id": "kept", "object": "model", "deleted": True}
        daemon.call("DELETE", "/models/gone?delete_file=true")
        reload(daemon)
        assert daemon.models() == served
        assert daemon.stop() == 0
        daemon.start()
        assert sorted(daemon.models()) == sorted(served + ["kept"])


# Models that come and go while others serve


def read_events(response):
    """The data of a stream's events until [DONE]."""
    while line := response.readline():
        text = line.decode().removeprefix("data: ").strip()
        if text == "[DONE]":
            return
        if line.startswith(b"data: "):
            yield json.loads(text)


def test_a_swap_does_not_touch_running_streams(tmp_path):
    with Daemon(tmp_path / "data") as daemon:
        put_model(daemon, "m", 1)
        first = daemon.post("/models", {"path": "m.gguf"})["meta"]["fingerprint"]
        body = json.dumps({"prompt": [5], "max_tokens": 200, "ignore_eos": True, "stream": True,
                           "n": 8, "seed": 1})
        connection = daemon.connect()
        connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        events = read_events(connection.getresponse())
        seen = [next(events)]
        put_model(daemon, "m", 2)
        second = daemon.post("/models", {"path": "m.gguf"})["meta"]["fingerprint"]
        assert daemon.complete("x", max_tokens=1)["system_fingerprint"] == "fp_" + second
        daemon.call("DELETE", "/models/m")
        seen += events
        assert {event["system_fingerprint"] for event in seen} == {"fp_" + first}
        ends = [choice["finish_reason"] for event in seen for choice in event["choices"]]
        assert ends.count("length") == 8
        connection.close()
        assert daemon.models() == []
        assert daemon.call("GET", "/readyz").status == 503


def test_paths_outside_the_folder_are_refused(own_daemon, tmp_path):
    outside = make_model(tmp_path / "outside.gguf", 1)
    for path in (str(outside), "../outside.gguf", f"../../{outside.name}", "/etc/passwd", "x.txt"):
        answer = own_daemon.call("POST", "/models", {"path": path})
        assert answer.status == 400 and answer.error["param"] == "path", path


# Introspection


def test_a_remote_tokenizer_finds_what_it_needs(own_daemon):
    """What lm-eval asks before it uses a server's tokenizer."""
    info = own_daemon.get("/tokenizer_info")
    assert "eos_token" in info and "bos_token" in info and "pad_token" in info
    answer = own_daemon.call("POST", "/tokenize", {"prompt": "test", "add_special_tokens": False})
    assert isinstance(answer.json()["tokens"], list)


def test_slots_and_props_agree(own_daemon):
    assert len(own_daemon.get("/slots")) == own_daemon.get("/props")["total_slots"]
    context = own_daemon.get("/v1/models")["data"][0]["max_model_len"]
    assert own_daemon.get("/props")["default_generation_settings"]["n_ctx"] == context


# Stopping


def test_a_drain_begins_with_not_ready_while_requests_are_served(model, tmp_path):
    with Daemon(tmp_path / "data", model, args=["--drain-delay-seconds", "3600"]) as daemon:
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: daemon.call("GET", "/readyz").status == 503)
        ready = daemon.call("GET", "/readyz")
        assert ready.error["code"] == "draining" and int(ready.headers["retry-after"]) >= 1
        assert daemon.call("GET", "/livez").status == 200
        assert daemon.complete("x", max_tokens=1)["usage"]["completion_tokens"] == 1
        daemon.process.send_signal(signal.SIGTERM)  # the second leaves at once
        assert daemon.process.wait(60) == 128 + signal.SIGTERM


# systemd


@pytest.fixture
def supervisor(tmp_path):
    """The socket of a service manager that the daemon tells what it does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(60)
        yield listening


def next_message(supervisor, start):
    """The next message that starts so; pings of the watchdog may come before it."""
    while True:
        message = supervisor.recv(4096).decode()
        if message.startswith(start):
            return message
        assert message == "WATCHDOG=1", message


def test_systemd_is_told_of_start_watchdog_reload_and_stop(model, tmp_path, supervisor):
    with Daemon(tmp_path / "data", model, NOTIFY_SOCKET=str(tmp_path / "notify"),
                WATCHDOG_USEC="400000") as daemon:
        assert next_message(supervisor, "READY=1")
        for _ in range(2):
            assert next_message(supervisor, "WATCHDOG=1")
        daemon.process.send_signal(signal.SIGHUP)
        assert re.search(r"MONOTONIC_USEC=\d+", next_message(supervisor, "RELOADING=1"))
        assert next_message(supervisor, "READY=1")
        daemon.process.send_signal(signal.SIGTERM)
        stopping = next_message(supervisor, "STOPPING=1")
        assert int(re.search(r"EXTEND_TIMEOUT_USEC=(\d+)", stopping).group(1)) == 120e6
        assert daemon.process.wait(60) == 0


def test_the_unit_has_time_for_a_checkpoint_and_outlives_a_worker_without_memory():
    lines = (SOURCE / "packaging" / "tristilld.service").read_text().splitlines()
    assert {"TimeoutStopSec=2min", "OOMPolicy=continue"} <= set(lines)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_the_unit_is_one_that_systemd_takes(tmp_path):
    text = (SOURCE / "packaging" / "tristilld.service").read_text()
    unit = tmp_path / "tristilld.service"
    unit.write_text(text.replace("/usr/bin/tristilld", str(BIN / "tristilld")))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)],
                          capture_output=True, text=True, timeout=60)
    said = [line for line in (done.stdout + done.stderr).splitlines() if "tristilld" in line]
    assert done.returncode == 0 and said == [], done.stderr
