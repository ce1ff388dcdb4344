"""Training jobs with the real worker: from POST to a served model, through every kind of kill."""

import os
import signal

import pytest

from programs import BIN, CONTRACT, Daemon

needs_worker = pytest.mark.skipif(not (BIN / "tristill-worker").exists(),
                                  reason="tristill-worker is not built")


def is_checkpoint(event):
    return event["type"] == "checkpoint"


def metric_steps(events):
    return [event["data"]["step"] for event in events if event["type"] == "metrics"]


def events_after(events, event_id):
    """Of events by id, oldest first, those that came after event_id."""
    ids = list(events)
    return [events[i] for i in ids[ids.index(event_id) + 1:]]


@needs_worker
def test_the_tiny_job_ends_as_a_served_model(own_daemon, tiny_job, model):
    body = tiny_job | {"name": "from-tiny", "budget": {"max_seconds": 5}, "eval_tokens": 4096}
    assert "from-tiny" not in own_daemon.models()
    created = own_daemon.post("/jobs", body)
    assert created["status"] in ("queued", "running")
    assert created["fine_tuned_model"] is None
    assert [j["id"] for j in own_daemon.get("/jobs")["data"]] == [created["id"]]
    # The daemon goes on serving while it trains.
    own_daemon.wait_event(created["id"], lambda e: e["type"] == "metrics")
    assert own_daemon.complete("x", model=model.stem, max_tokens=2)["choices"]
    job = own_daemon.wait_job(created["id"])
    assert job["status"] == "succeeded", (job["error"], own_daemon.log_text())
    assert job["fine_tuned_model"] == "from-tiny"
    assert job["trained_tokens"] > 0 and job["finished_at"] >= job["created_at"]
    health = own_daemon.get(f"/jobs/{job['id']}/health")
    assert health["step"] > 0 and health["grad_norm"] > 0 and health["tokens_per_second"] > 0
    assert health["resident_bytes"] > 1 << 20 and len(health["matrices"]) == 14
    assert set(own_daemon.models()) == {model.stem, "from-tiny"}
    openai = pytest.importorskip("openai", reason="the OpenAI SDK cannot be installed here")
    client = openai.OpenAI(base_url=own_daemon.url + "/v1", api_key="none", max_retries=0)
    answer = client.completions.create(model="from-tiny", prompt="def ", max_tokens=8,
                                       temperature=0)
    assert answer.usage.completion_tokens > 0
    with pytest.raises(openai.NotFoundError) as caught:
        client.completions.create(model="unheard-of", prompt="x")
    assert caught.value.code == "model_not_found"
    events = own_daemon.all_events(job["id"])
    assert {"progress", "metrics", "artifact", "result"} <= {e["type"] for e in events.values()}
    losses = [e["data"]["loss"] for e in events.values() if "loss" in (e["data"] or {})]
    assert losses[-1] < losses[0]
    # The model is still there after a restart.
    assert own_daemon.stop() == 0
    own_daemon.start()
    assert set(own_daemon.models()) == {model.stem, "from-tiny"}
    again = own_daemon.complete("def ", model="from-tiny", max_tokens=8, temperature=0)
    assert again["choices"][0]["text"] == answer.choices[0].text


@needs_worker
def test_a_tokenizer_is_trained_once_and_shared(own_daemon, tiny_job):
    body = {"kind": "tokenizer", "name": "py-1k", "tokenizer": tiny_job["tokenizer"],
            "data": tiny_job["data"]}
    made = own_daemon.wait_job(own_daemon.post("/jobs", body)["id"])
    assert made["status"] == "succeeded", (made["error"], own_daemon.log_text())
    assert made["kind"] == "tokenizer" and made["fine_tuned_model"] is None
    metrics = made["progress"]["metrics"]
    assert metrics["vocab_size"] == 1024 and metrics["held_out_bytes_per_token"] > 1.5
    body = tiny_job | {"name": "shares", "tokenizer": {"from_job": made["id"]},
                       "budget": {"max_steps": 2}, "eval_tokens": 0}
    job = own_daemon.wait_job(own_daemon.post("/jobs", body)["id"])
    assert job["status"] == "succeeded", (job["error"], own_daemon.log_text())
    phases = {e["data"].get("phase") for e in own_daemon.all_events(job["id"]).values()}
    assert "training tokenizer" not in phases
    body["tokenizer"] = {"from_job": "ftjob-unheard-of"}
    refused = own_daemon.call("POST", "/jobs", body)
    assert refused.status == 400 and refused.json()["error"]["param"] == "tokenizer.from_job"


@needs_worker
def test_a_dry_run_compares_what_it_predicted(own_daemon, tiny_job):
    inner = tiny_job | {"batch_tokens": 512, "sequence_length": 128, "threads": 1}
    created = own_daemon.post("/jobs", {"kind": "dryrun", "name": "try-tiny", "job": inner})
    job = own_daemon.wait_job(created["id"])
    assert job["status"] == "succeeded", (job["error"], own_daemon.log_text())
    assert job["kind"] == "dryrun" and job["result_files"] == ["dryrun.json"]
    metrics = job["progress"]["metrics"]
    for phase in ("A8_forward", "A4_forward", "training_step"):
        predicted = metrics[f"{phase}_predicted_bytes"]
        assert abs(predicted / metrics[f"{phase}_measured_bytes"] - 1) < 0.05, phase
    assert metrics["A4_against_A8_finite"] == 1
    assert metrics["A4_against_A8_largest_difference"] > 0
    # It writes no checkpoint.
    answer = own_daemon.call("GET", f"/jobs/{job['id']}/health")
    assert answer.status == 404 and "no checkpoint" in answer.error["message"]
    assert own_daemon.get("/jobs/" + job["id"])["fine_tuned_model"] is None


@needs_worker
def test_a_dry_run_that_does_not_fit_says_so_or_only_accounts(own_daemon, tiny_job):
    inner = tiny_job | {"batch_tokens": 1 << 24}
    body = {"kind": "dryrun", "name": "try-huge", "job": inner}
    job = own_daemon.wait_job(own_daemon.post("/jobs", body)["id"])
    assert job["status"] == "failed"
    assert job["error"]["code"] == "resource_exhausted" and "account" in job["error"]["message"]
    body |= {"measure": "account"}
    job = own_daemon.wait_job(own_daemon.post("/jobs", body)["id"])
    assert job["status"] == "succeeded"
    assert job["progress"]["metrics"]["predicted_peak_bytes"] > 1e11


def finish(daemon, job_id):
    """Waits for the end: a killed job goes on by itself."""
    job = daemon.wait_job(job_id)
    assert job["status"] == "succeeded", (job, daemon.log_text())
    return job


@needs_worker
def test_a_killed_worker_is_resumed_from_its_checkpoint(own_daemon, small_job):
    job_id = own_daemon.post("/jobs", small_job(own_daemon, "survivor", 60))["id"]
    seen = own_daemon.wait_event(job_id, is_checkpoint)
    checkpoint_step = seen[-1][1]["data"]["step"]
    [pid] = own_daemon.worker_pids()
    os.kill(pid, signal.SIGKILL)
    finish(own_daemon, job_id)
    events = own_daemon.all_events(job_id)
    for event_id, event in seen:
        assert events[event_id] == event
    after = metric_steps(events_after(events, seen[-1][0]))
    assert min(after) > checkpoint_step, "it began again from the start"
    assert max(after) == 60
    assert "survivor" in own_daemon.models()


@needs_worker
def test_a_killed_daemon_loses_nothing(own_daemon, small_job, model, trace_lines):
    stored = own_daemon.call("POST", "/traces?name=kept", raw=trace_lines(5),
                             headers={"Content-Type": "application/x-ndjson"}).json()
    running = own_daemon.post("/jobs", small_job(own_daemon, "orphan", 60))
    waiting = own_daemon.post("/jobs", small_job(own_daemon, "waiting", 3))
    seen = own_daemon.wait_event(running["id"], is_checkpoint)
    own_daemon.kill()
    own_daemon.start()
    jobs = {job["id"]: job for job in own_daemon.get("/jobs")["data"]}
    assert set(jobs) == {running["id"], waiting["id"]}
    assert own_daemon.get("/traces/kept")["records"] == stored["records"] == 5
    finish(own_daemon, running["id"])
    finish(own_daemon, waiting["id"])
    events = own_daemon.all_events(running["id"])
    for event_id, event in seen:
        assert events[event_id] == event
    steps = metric_steps(events.values())
    assert set(steps) >= set(range(1, 61)), "metrics are missing"
    assert {"orphan", "waiting", model.stem} <= set(own_daemon.models())


@needs_worker
def test_daemon_and_worker_killed_together(own_daemon, small_job):
    job_id = own_daemon.post("/jobs", small_job(own_daemon, "phoenix", 50))["id"]
    own_daemon.wait_event(job_id, is_checkpoint)
    [pid] = own_daemon.worker_pids()
    own_daemon.kill()
    os.kill(pid, signal.SIGKILL)
    own_daemon.start()
    finish(own_daemon, job_id)
    assert "phoenix" in own_daemon.models()


@needs_worker
def test_cancel_keeps_a_checkpoint_and_resume_goes_on(own_daemon, small_job):
    job_id = own_daemon.post("/jobs", small_job(own_daemon, "later", 60))["id"]
    own_daemon.wait_event(job_id, lambda e: e["type"] == "metrics")
    assert own_daemon.post(f"/jobs/{job_id}/cancel")["status"] in ("cancelling", "cancelled")
    job = own_daemon.wait_job(job_id)
    assert job["status"] == "cancelled" and job["fine_tuned_model"] is None
    assert own_daemon.worker_pids() == []
    last = list(own_daemon.all_events(job_id))[-1]
    answer = own_daemon.call("POST", f"/jobs/{job_id}/cancel")
    assert answer.status == 409
    assert answer.headers["x-should-retry"] == "false"
    assert own_daemon.post(f"/jobs/{job_id}/resume")["status"] in ("queued", "running")
    assert own_daemon.wait_job(job_id)["status"] == "succeeded"
    after = metric_steps(events_after(own_daemon.all_events(job_id), last))
    assert min(after) > 1, "it began again from the start"


@needs_worker
def test_a_queued_job_is_cancelled_at_once(own_daemon, small_job):
    first = own_daemon.post("/jobs", small_job(own_daemon, "first", 300))["id"]
    second = own_daemon.post("/jobs", small_job(own_daemon, "second", 300))["id"]
    assert own_daemon.get(f"/jobs/{second}")["status"] == "queued"
    assert own_daemon.post(f"/jobs/{second}/cancel")["status"] == "cancelled"
    own_daemon.post(f"/jobs/{first}/cancel")
    assert own_daemon.wait_job(first)["status"] == "cancelled"


@needs_worker
def test_the_same_key_and_body_make_one_job(own_daemon, small_job):
    body = small_job(own_daemon, "once", 3)
    key = {"Idempotency-Key": "try-1"}
    first = own_daemon.call("POST", "/jobs", body, headers=key)
    again = own_daemon.call("POST", "/jobs", body, headers=key)
    assert first.status == again.status == 200
    assert first.json()["id"] == again.json()["id"]
    other = own_daemon.call("POST", "/jobs", body | {"name": "twice"}, headers=key)
    assert other.status == 409
    assert len(own_daemon.get("/jobs")["data"]) == 1
    assert own_daemon.wait_job(first.json()["id"])["status"] == "succeeded"


@needs_worker
def test_a_name_is_for_one_unfinished_job(own_daemon, small_job):
    body = small_job(own_daemon, "taken", 300)
    first = own_daemon.post("/jobs", body)
    answer = own_daemon.call("POST", "/jobs", body)
    assert answer.status == 409
    assert answer.error["param"] == "name"
    own_daemon.post(f"/jobs/{first['id']}/cancel")
    assert own_daemon.wait_job(first["id"])["status"] == "cancelled"


@needs_worker
def test_events_can_be_read_on_from_any(own_daemon, small_job):
    job_id = own_daemon.post("/jobs", small_job(own_daemon, "story", 5))["id"]
    own_daemon.wait_job(job_id)
    whole = list(own_daemon.stream_events(job_id))
    assert [event for _, event in whole] == list(own_daemon.all_events(job_id).values())
    middle = len(whole) // 2
    rest = own_daemon.stream_events(job_id, last_event_id=whole[middle][0])
    assert list(rest) == whole[middle + 1:]
    page = own_daemon.get(f"/jobs/{job_id}/events?limit=2&after={whole[0][0]}")
    assert [e["id"] for e in page["data"]] == [whole[1][0], whole[2][0]]
    assert page["has_more"] is True


@pytest.fixture(scope="module")
def refusing(model, tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("refusing"), model) as running:
        yield running
        assert running.get("/jobs")["data"] == []


@pytest.mark.parametrize("change,status,param", [
    ({"kind": "bake"}, {400}, "kind"),
    ({"name": "../../etc/passwd"}, {400}, "name"),
    ({"name": 7}, {400}, "name"),
    ({"frobnicate": 1}, {400}, "frobnicate"),
    ({"budget": {}}, {400}, "budget"),
    ({"budget": {"max_steps": 0}}, {400}, "budget.max_steps"),
    ({"batch_tokens": -1}, {400}, "batch_tokens"),
    ({"precision": "fp8"}, {400}, "precision"),
    ({"precision": "fp16", "init_scale": 0.001}, {400}, "init_scale"),
    ({"gradient_checkpointing": 1}, {400}, "gradient_checkpointing"),
    ({"data": {"corpora": [{"name": "no-such-corpus"}]}}, {400, 404}, "data.corpora"),
    ({"data": {"corpora": [{"name": "../x"}]}}, {400}, "data.corpora"),
    ({"data": {"corpora": [{"name": "python-stdlib"}], "traces": ["no-such-traces"]}}, {400, 404},
     "data.traces"),
    ({"data": {"corpora": [{"name": "python-stdlib"}], "fim_rate": 2}}, {400}, "data.fim_rate"),
    ({"data": {}}, {400}, "data"),
    ({"tokenizer": {"from_model": "no-such-model"}}, {400, 404}, "tokenizer.from_model"),
    ({"model": {"n_layers": 1}}, {400}, "model"),
])
def test_wrong_jobs_are_refused_by_field(refusing, tiny_job, change, status, param):
    answer = refusing.call("POST", "/jobs", tiny_job | change, valid=False)
    assert answer.status in status, answer.body
    assert (answer.error["param"] or "").startswith(param), answer.error


def test_unknown_jobs_are_404(refusing):
    for method, path in [("GET", "/jobs/ftjob-x"), ("GET", "/jobs/ftjob-x/events"),
                         ("GET", "/jobs/ftjob-x/health"),
                         ("GET", "/jobs/ftjob-x/events?stream=true"),
                         ("POST", "/jobs/ftjob-x/cancel"), ("POST", "/jobs/ftjob-x/resume")]:
        answer = refusing.call(method, path)
        assert answer.status == 404
        assert "ftjob-x" in answer.error["message"]
