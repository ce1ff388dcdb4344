"""The client as a program: what it sends, prints and exits with, against a fake daemon."""

import json
import os
import signal
import subprocess

import pytest

from client_program import (BIN, CONTRACT, CONFLICT, DATA, INTERRUPTED, NOT_FOUND, OK, PERMISSION,
                            RESOURCE, UNAVAILABLE, USAGE, chunks, completion, environment,
                            run_on_terminal, tristill)
from fake_daemon import broken_answer, error_answer, json_answer, sse_answer


def job(status="queued", **fields):
    value = {"id": "ftjob-1", "object": "fine_tuning.job", "created_at": 1790000000, "error": None,
             "finished_at": None, "fine_tuned_model": None, "hyperparameters": {}, "model": "tiny",
             "organization_id": "local", "result_files": [], "seed": 1, "status": status,
             "trained_tokens": None, "training_file": "python-stdlib", "validation_file": None,
             "started_at": None, "progress": None}
    value |= fields
    CONTRACT.check({"$ref": "#/components/schemas/Job"}, value, "the fake's job")
    return value


def event(event_id, kind, message="", level="info", **data):
    value = {"object": "fine_tuning.job.event", "id": str(event_id), "created_at": 1790000000,
             "level": level, "message": message, "type": kind, "data": data}
    CONTRACT.check({"$ref": "#/components/schemas/JobEvent"}, value, "the fake's event")
    return event_id, value


# Command line


@pytest.mark.parametrize("args", [
    [], ["jobs"], ["traces"], ["nonsense"], ["jobs", "nonsense"], ["complete", "--n", "0", "x"],
    ["complete", "--temperature", "3", "x"], ["complete", "--temperature", "hot", "x"],
    ["complete", "--unknown", "x"], ["jobs", "create"], ["jobs", "cancel"], ["completion", "tcsh"],
    ["complete", "x", "--file", "y"], ["complete", "x", "--suffix", "a", "--suffix-file", "b"],
    ["complete", "x", "--stream", "--no-stream"], ["complete", "x", "--stream", "--n", "2"],
])
def test_wrong_command_lines_exit_64_and_say_why(args):
    done = tristill(*args)
    assert done.returncode == USAGE
    assert done.stdout == ""
    assert done.stderr.startswith("tristill: ")
    assert done.stderr.count("\n") == 1


def test_help_lists_every_command():
    done = tristill("--help")
    assert done.returncode == OK
    for name in ["complete", "chat", "infill", "score", "tokenize", "detokenize", "models", "jobs",
                 "traces", "keys", "health", "requests", "top", "config", "completion"]:
        assert f"\n  {name} " in done.stdout
    assert "Exit status:" in done.stdout and "Exit status:" not in tristill("top", "-h").stdout
    for name in ["create", "list", "show", "watch", "cancel", "resume"]:
        assert f"\n  {name} " in tristill("jobs", "--help").stdout


def test_no_daemon_is_told_with_the_remedy():
    done = tristill("health", "--server", "http://127.0.0.1:1")
    assert done.returncode == UNAVAILABLE
    assert "cannot reach http://127.0.0.1:1" in done.stderr
    assert "is tristilld running? start it with ./dev serve" in done.stderr


def test_errors_are_json_with_json():
    done = tristill("--json", "health", "--server", "http://127.0.0.1:1")
    assert done.returncode == UNAVAILABLE
    assert json.loads(done.stderr)["error"]["exit"] == UNAVAILABLE
    assert json.loads(tristill("complete", "--json", "--n", "0").stderr)["error"]["exit"] == USAGE


@pytest.mark.parametrize("status,exit_code", [
    (400, USAGE), (401, PERMISSION), (403, PERMISSION), (404, NOT_FOUND), (409, CONFLICT),
    (413, USAGE), (429, UNAVAILABLE), (500, 70), (503, UNAVAILABLE), (507, RESOURCE)])
def test_http_errors_keep_the_daemons_words(daemon, status, exit_code):
    daemon.on("GET", "/v1/models", error_answer(status, "because of this"))
    done = tristill("models", daemon=daemon)
    assert done.returncode == exit_code
    assert "because of this" in done.stderr


def test_an_answer_that_is_not_json_is_refused(daemon):
    daemon.on("GET", "/health", lambda call: (200, "text/html", b"<html>"))
    done = tristill("health", daemon=daemon)
    assert done.returncode == UNAVAILABLE
    assert "is --server a tristilld?" in done.stderr


def test_the_key_is_sent_as_bearer_from_flag_or_environment(daemon):
    daemon.on("GET", "/health", json_answer({"status": "ok"}))
    tristill("health", daemon=daemon)
    tristill("health", daemon=daemon, TRISTILL_API_KEY="secret-1")
    tristill("health", "--api-key", "secret-2", daemon=daemon, TRISTILL_API_KEY="secret-1")
    sent = [call.headers.get("authorization") for call in daemon.calls]
    assert sent == [None, "Bearer secret-1", "Bearer secret-2"]


# Completions


def test_complete_sends_what_the_flags_say(daemon):
    daemon.on("POST", "/v1/completions", json_answer(completion("x")))
    done = tristill("complete", "def f", "--max-tokens", "5", "--temperature", "0", "--top-p",
                    "0.5", "--seed", "-7", "--stop", "a", "--stop", "b", "--model", "m", "--n",
                    "2", "--suffix", "end", "--echo", daemon=daemon)
    assert done.returncode == OK, done.stderr
    body = daemon.calls[0].json()
    CONTRACT.check_request("POST", "/v1/completions", body)
    assert body == {"prompt": "def f", "max_tokens": 5, "temperature": 0, "top_p": 0.5, "seed": -7,
                    "stop": ["a", "b"], "model": "m", "n": 2, "suffix": "end", "echo": True}


def test_complete_streams_to_a_pipe_byte_for_byte(daemon):
    daemon.on("POST", "/v1/completions", sse_answer(*chunks("é ", "\x1b[0m", "\n  end")))
    done = tristill("complete", "p", daemon=daemon)
    assert done.returncode == OK, done.stderr
    assert done.stdout == "é \x1b[0m\n  end"
    assert daemon.calls[0].json()["stream"] is True


def test_complete_reads_standard_input_and_files_unchanged(daemon, tmp_path):
    text = "  def f():\r\n\té\n\n"
    file = tmp_path / "prompt.py"
    file.write_bytes(text.encode())
    daemon.on("POST", "/v1/completions", sse_answer(*chunks("x")))
    for args in (["complete"], ["complete", "-"], ["complete", "--file", "-"]):
        assert tristill(*args, daemon=daemon, stdin=text.encode()).returncode == OK
    assert tristill("complete", "--file", str(file), "--suffix-file", str(file),
                    daemon=daemon).returncode == OK
    assert [call.json()["prompt"] for call in daemon.calls] == [text] * 4
    assert daemon.calls[3].json()["suffix"] == text


def test_complete_refuses_a_prompt_that_is_not_text(daemon):
    done = tristill("complete", daemon=daemon, stdin=b"\xff\xfe")
    assert done.returncode == DATA
    assert "not UTF-8" in done.stderr
    assert daemon.calls == []


def test_complete_names_a_missing_file():
    done = tristill("complete", "--file", "/nowhere/x")
    assert done.returncode == NOT_FOUND
    assert "/nowhere/x" in done.stderr


def test_complete_json_is_one_object_and_with_stream_lines(daemon):
    daemon.on("POST", "/v1/completions", json_answer(completion("a", "b")))
    done = tristill("--json", "complete", "p", daemon=daemon)
    assert json.loads(done.stdout)["choices"][1]["text"] == "b"
    daemon.on("POST", "/v1/completions", sse_answer(*chunks("a", "b")))
    done = tristill("complete", "p", "--stream", "--json", daemon=daemon)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["choices"][0]["text"] for line in lines] == ["a", "b"]


def test_complete_prints_several_choices_apart(daemon):
    daemon.on("POST", "/v1/completions", json_answer(completion("one", "two\n")))
    done = tristill("complete", "p", "--n", "2", daemon=daemon)
    assert done.stdout == "--- 1 of 2 ---\none\n--- 2 of 2 ---\ntwo\n"


def test_complete_fails_when_the_stream_holds_an_error_or_breaks(daemon):
    error = {"error": {"message": "the cache is gone", "type": "server_error", "param": None,
                       "code": None}}
    daemon.on("POST", "/v1/completions", sse_answer(*chunks("a"), (None, error)))
    done = tristill("complete", "p", daemon=daemon)
    assert (done.returncode, done.stdout) == (70, "a")
    assert "the cache is gone" in done.stderr
    daemon.on("POST", "/v1/completions", broken_answer(sse_answer(*chunks("a"), done=False)))
    done = tristill("complete", "p", daemon=daemon)
    assert (done.returncode, done.stdout) == (UNAVAILABLE, "a")
    daemon.on("POST", "/v1/completions", sse_answer(*chunks("a"), done=False))
    done = tristill("complete", "p", daemon=daemon)
    assert done.returncode == UNAVAILABLE
    assert "before the answer's end" in done.stderr


def test_a_closed_pipe_ends_quietly(daemon):
    daemon.on("POST", "/v1/completions", sse_answer(*chunks(*["line\n" * 100] * 1000)))
    command = f"'{BIN / 'tristill'}' complete p | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, env=environment(daemon),
                          timeout=60)
    assert (done.stdout, done.stderr) == (b"line\n", b"")


def test_ctrl_c_closes_the_connection_and_dies_of_sigint():
    """A daemon that answers one chunk and then nothing; the client's socket must close."""
    import socket
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        client = subprocess.Popen([str(BIN / "tristill"), "complete", "p", "--server", url],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        connection, _ = listener.accept()
        connection.settimeout(30)
        connection.recv(65536)
        data = f"data: {json.dumps(chunks('begun')[0][1])}\n\n".encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                           b"Content-Length: 100000\r\n\r\n" + data)
        assert client.stdout.read(5) == b"begun"
        client.send_signal(signal.SIGINT)
        assert connection.recv(1) == b""
        assert client.wait(30) == -signal.SIGINT
        connection.close()
        client.stdout.close()
        client.stderr.close()


# Jobs


def test_jobs_create_posts_the_file_and_prints_the_id(daemon, tmp_path):
    body = {"kind": "train", "name": "tiny"}
    file = tmp_path / "job.json"
    file.write_text(json.dumps(body))
    daemon.on("POST", "/jobs", json_answer(job()))
    assert tristill("jobs", "create", str(file), daemon=daemon).stdout == "ftjob-1\n"
    assert tristill("jobs", "create", "-", daemon=daemon,
                    stdin=json.dumps(body).encode()).stdout == "ftjob-1\n"
    assert [call.json() for call in daemon.calls] == [body, body]
    done = tristill("--json", "jobs", "create", str(file), daemon=daemon)
    assert json.loads(done.stdout)["status"] == "queued"


def test_jobs_create_refuses_broken_json_before_asking(daemon):
    done = tristill("jobs", "create", "-", daemon=daemon, stdin=b'{"kind": ')
    assert done.returncode == DATA
    assert "is not JSON" in done.stderr
    assert daemon.calls == []


def test_jobs_list_is_a_table(daemon):
    running = job("running", id="ftjob-2", started_at=1790000000, finished_at=1790000075,
                  progress={"phase": "train", "fraction": 0.5, "step": 5, "total_steps": 10,
                            "loss": 2.5, "tokens_per_second": 1000, "eta_seconds": 9})
    daemon.on("GET", "/jobs", json_answer({"object": "list", "data": [running, job()],
                                           "has_more": False}))
    done = tristill("jobs", "list", daemon=daemon)
    assert done.stdout == (
        "ID       STATUS   MODEL  CREATED              TOOK   PROGRESS\n"
        "ftjob-2  running  tiny   2026-09-21 14:13:20  1m15s  "
        "train 50.0% step 5/10 loss 2.5000 1.0k tok/s eta 9s\n"
        "ftjob-1  queued   tiny   2026-09-21 14:13:20\n")


def test_jobs_list_follows_pages(daemon):
    page = [job(id=f"ftjob-{i}") for i in range(3)]
    daemon.on("GET", "/jobs?limit=100", json_answer({"object": "list", "data": page,
                                                     "has_more": True}))
    daemon.on("GET", "/jobs?limit=100&after=ftjob-2",
              json_answer({"object": "list", "data": [job(id="ftjob-9")], "has_more": False}))
    done = tristill("jobs", "list", "--all", "--json", daemon=daemon)
    ids = [item["id"] for item in json.loads(done.stdout)["data"]]
    assert ids == ["ftjob-0", "ftjob-1", "ftjob-2", "ftjob-9"]


def test_jobs_show_prints_the_error(daemon):
    daemon.on("GET", "/jobs/ftjob-1", json_answer(job("failed", error={
        "code": "not_found", "message": "corpus \"x\" is missing", "param": "data.corpora[0]"})))
    done = tristill("jobs", "show", "ftjob-1", daemon=daemon)
    assert done.returncode == OK
    assert "status:     failed\n" in done.stdout
    assert 'error:      corpus "x" is missing\n' in done.stdout
    assert "field:      data.corpora[0]\n" in done.stdout


def test_jobs_show_takes_the_newest_by_default(daemon):
    daemon.on("GET", "/jobs?limit=1", json_answer({"object": "list", "data": [job(id="ftjob-8")],
                                                   "has_more": True}))
    daemon.on("GET", "/jobs/ftjob-8", json_answer(job(id="ftjob-8")))
    assert tristill("jobs", "show", daemon=daemon).stdout.startswith("id:      ftjob-8\n")


@pytest.mark.parametrize("verb,status", [("cancel", "cancelling"), ("resume", "queued")])
def test_jobs_transitions_post_and_print_the_status(daemon, verb, status):
    daemon.on("POST", f"/jobs/ftjob-1/{verb}", json_answer(job(status)))
    assert tristill("jobs", verb, "ftjob-1", daemon=daemon).stdout == f"job ftjob-1 {status}\n"


def test_an_id_cannot_leave_its_place_in_the_path(daemon):
    tristill("jobs", "cancel", "../v1/models?x=", daemon=daemon)
    assert daemon.calls[0].path == "/jobs/..%2Fv1%2Fmodels%3Fx%3D/cancel"


STORY = [event(1, "log", "job started"),
         event(2, "progress", phase="train", fraction=0.25, step=5, total_steps=20, eta_seconds=15),
         event(3, "metrics", step=6, loss=2.5, tokens_per_second=1000),
         event(4, "checkpoint", step=6, path="checkpoints/00000006"),
         event(5, "log", "the loss is odd", level="warn"),
         event(6, "result", "succeeded", outcome="succeeded")]


def serve_story(daemon, end, *streams):
    daemon.on("GET", "/jobs/ftjob-1/events", *(streams or [sse_answer(*STORY)]))
    daemon.on("GET", "/jobs/ftjob-1", json_answer(end))


def test_watch_prints_plain_lines_to_a_pipe(daemon):
    serve_story(daemon, job("succeeded", fine_tuned_model="tiny", finished_at=1790000001))
    done = tristill("jobs", "watch", "ftjob-1", daemon=daemon)
    assert done.returncode == OK, done.stderr
    assert done.stdout == (
        "14:13:20 job started\n"
        "14:13:20 train 25.0% step 5/20 eta 15s\n"
        "14:13:20 train 25.0% step 6/20 loss 2.5000 1.0k tok/s eta 15s\n"
        "14:13:20 checkpoint at step 6\n"
        "14:13:20 warn: the loss is odd\n"
        "14:13:20 succeeded\n"
        'succeeded: tiny is served; try: tristill complete --model tiny "def "\n')


def test_watch_json_is_the_events_then_the_job(daemon):
    serve_story(daemon, job("succeeded", fine_tuned_model="tiny", finished_at=1790000001))
    done = tristill("jobs", "watch", "ftjob-1", "--json", daemon=daemon)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["object"] for line in lines] == ["fine_tuning.job.event"] * 6 + ["fine_tuning.job"]


@pytest.mark.parametrize("end,exit_code", [
    (job("cancelled"), INTERRUPTED),
    (job("failed", error={"code": "resource_exhausted", "message": "disk full", "param": None}),
     RESOURCE),
    (job("failed", error={"code": "invalid_argument", "message": "bad", "param": "x"}), USAGE)])
def test_watch_exits_by_the_outcome(daemon, end, exit_code):
    serve_story(daemon, end)
    done = tristill("jobs", "watch", "ftjob-1", daemon=daemon)
    assert done.returncode == exit_code
    if end["error"]:
        assert f"job ftjob-1 failed: {end['error']['message']}" in done.stderr
    assert tristill("--json", "jobs", "watch", "ftjob-1", daemon=daemon).returncode == exit_code


def test_watch_reconnects_where_it_was(daemon):
    serve_story(daemon, job("succeeded", fine_tuned_model="tiny", finished_at=1790000001),
                broken_answer(sse_answer(*STORY[:2], done=False)),
                error_answer(503, "starting"), sse_answer(*STORY[2:]))
    daemon.on("GET", "/jobs/ftjob-1", json_answer(job("running")), error_answer(503, "starting"),
              json_answer(job("succeeded", fine_tuned_model="tiny", finished_at=1790000001)))
    done = tristill("jobs", "watch", "ftjob-1", "--json", daemon=daemon)
    assert done.returncode == OK, done.stderr
    ids = [json.loads(line)["id"] for line in done.stdout.splitlines()]
    assert ids == ["1", "2", "3", "4", "5", "6", "ftjob-1"]
    streams = [c for c in daemon.calls if "/events" in c.path]
    assert [c.headers.get("last-event-id") for c in streams] == [None, "2", "2"]


def test_watch_gives_up_on_a_daemon_that_stays_away(daemon):
    serve_story(daemon, job("running"), broken_answer(sse_answer(*STORY[:2], done=False)),
                error_answer(503, "gone"))
    daemon.on("GET", "/jobs/ftjob-1", error_answer(503, "gone"))
    done = tristill("jobs", "watch", "ftjob-1", "--patience", "0", daemon=daemon)
    assert done.returncode == UNAVAILABLE
    assert "waiting for it to come back" in done.stderr


def test_watch_of_an_unknown_job_is_not_found(daemon):
    daemon.on("GET", "/jobs/ftjob-1/events", error_answer(404, "no job ftjob-1"))
    done = tristill("jobs", "watch", "ftjob-1", daemon=daemon)
    assert (done.returncode, done.stdout) == (NOT_FOUND, "")


def test_watch_redraws_one_line_on_a_terminal(daemon):
    serve_story(daemon, job("succeeded", fine_tuned_model="tiny", finished_at=1790000001))
    for columns in (40, 80, 200):
        shown, code = run_on_terminal(["jobs", "watch", "ftjob-1"], daemon, columns)
        assert code == OK
        drawn = [part.split("\r")[0].split("\n")[0] for part in shown.split("\r\x1b[K")]
        assert all(len(line) < columns for line in drawn[1:])
        assert any("[" in line and "25.0%" in line for line in drawn)
        assert "warn: the loss is odd\r\n" in shown
        assert "succeeded: tiny is served" in shown.replace("\r\n", "")


def test_model_text_cannot_drive_the_terminal(daemon):
    daemon.on("POST", "/v1/completions", sse_answer(*chunks("a\x1b]0;owned\x07b")))
    shown, code = run_on_terminal(["complete", "p"], daemon, 80)
    assert code == OK
    assert "\x1b" not in shown and "\x07" not in shown
    assert shown.startswith("a\ufffd]0;owned\ufffdb")


# Models, health, traces


def test_models_and_health(daemon):
    daemon.on("GET", "/health", json_answer({"status": "ok"}))
    daemon.on("GET", "/v1/models", json_answer({"object": "list", "data": [
        {"id": "starter", "object": "model", "created": 1790000000, "owned_by": "tristill",
         "max_model_len": 1024}]}))
    assert tristill("health", daemon=daemon).stdout == f"{daemon.url} ok\n"
    assert json.loads(tristill("health", "--json", daemon=daemon).stdout) == {"status": "ok"}
    assert tristill("models", daemon=daemon).stdout == (
        "MODEL    CONTEXT  OWNER     CREATED\n"
        "starter  1024     tristill  2026-09-21 14:13:20\n")


SET = {"id": "s", "object": "trace", "records": 2, "tokens": 10, "scored_tokens": 8}


def test_traces_upload_sends_whole_lines(daemon, tmp_path):
    file = tmp_path / "t.jsonl"
    lines = [json.dumps({"pad": "x" * 1_000_000, "n": i}) for i in range(20)]
    file.write_text("\n".join(lines) + "\n")
    daemon.on("POST", "/traces", json_answer(SET))
    done = tristill("traces", "upload", "s", str(file), daemon=daemon)
    assert done.stdout == "traces s: 2 records, 10 tokens, 8 with a teacher's probabilities\n"
    assert len(daemon.calls) == 3  # 20 MB in batches of at most 8 MiB
    assert {call.path for call in daemon.calls} == {"/traces?name=s"}
    sent = b"".join(call.body for call in daemon.calls).decode()
    assert sent.splitlines() == lines


def test_traces_upload_says_what_is_stored_when_a_batch_is_refused(daemon, tmp_path):
    file = tmp_path / "t.jsonl"
    file.write_text("".join(json.dumps({"pad": "x" * 3_000_000}) + "\n" for _ in range(4)))
    daemon.on("POST", "/traces", json_answer(SET), error_answer(400, "line 1: tokens is missing"))
    done = tristill("traces", "upload", "s", str(file), daemon=daemon)
    assert done.returncode == USAGE
    assert "line 1: tokens is missing; lines count from line 3, those before it are stored" in (
        done.stderr)


def test_traces_list_and_delete(daemon):
    daemon.on("GET", "/traces", json_answer({"object": "list", "data": [SET]}))
    daemon.on("DELETE", "/traces/s", json_answer({"id": "s", "object": "trace", "deleted": True}))
    assert tristill("traces", "list", daemon=daemon).stdout == (
        "NAME  RECORDS  TOKENS  SCORED  CREATED\n"
        "s     2        10      8\n")
    assert tristill("traces", "delete", "s", daemon=daemon).stdout == "deleted s\n"


# Shell completion


def bash_candidates(daemon, line, **env):
    script = f"""
        source <('{BIN / 'tristill'}' completion bash)
        compopt() {{ echo FILES; }}
        COMP_LINE={json.dumps(line)}; COMP_POINT=${{#COMP_LINE}}
        _tristill && printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = f"{BIN}:{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60,
                          env=environment(daemon, PATH=path, **env))
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_flags_ids_names_and_files(daemon):
    daemon.on("GET", "/jobs", json_answer({"object": "list", "data": [
        job(id="ftjob-a1"), job(id="ftjob-b2")], "has_more": False}))
    daemon.on("GET", "/v1/models", json_answer({"object": "list", "data": [
        {"id": "starter", "object": "model", "created": 1, "owned_by": "tristill"}]}))
    daemon.on("GET", "/traces", json_answer({"object": "list", "data": [SET]}))
    assert bash_candidates(daemon, "tristill jobs ") == [
        "create", "list", "show", "watch", "cancel", "resume"]
    assert bash_candidates(daemon, "tristill complete --max") == ["--max-tokens"]
    assert bash_candidates(daemon, "tristill jobs watch ") == ["ftjob-a1", "ftjob-b2"]
    assert bash_candidates(daemon, "tristill jobs cancel ftjob-b") == ["ftjob-b2"]
    assert bash_candidates(daemon, "tristill complete --model ") == ["starter"]
    assert bash_candidates(daemon, "tristill traces upload ") == ["s"]
    assert bash_candidates(daemon, "tristill jobs create ") == ["FILES"]


def test_bash_completes_what_only_daemon_and_files_know(daemon, tmp_path):
    daemon.on("GET", "/v1/models", json_answer({"object": "list", "data": [
        {"id": "starter"}, {"id": "$(reboot)"}, {"id": "a b"}, {"id": "x;y"}, {"id": "a/b-1.5"}]}))
    daemon.on("GET", "/keys", json_answer({"object": "list", "data": [{"id": "key_1"}]}))
    assert bash_candidates(daemon, "tristill models remove ") == ["starter", "a/b-1.5"]
    assert bash_candidates(daemon, "tristill score --model st") == ["starter"]
    assert bash_candidates(daemon, "tristill keys revoke ") == ["key_1"]
    assert bash_candidates(daemon, "tristill keys create ci --scope ") == ["infer", "train",
                                                                           "admin"]
    assert bash_candidates(daemon, "tristill infill --file ") == ["FILES"]
    config = tmp_path / "tristill" / "config.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"profiles": {
        "here": {"server": daemon.url}, "away": {"server": "http://127.0.0.1:1"}}}))
    env = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert bash_candidates(None, "tristill --profile ", **env) == ["away", "here"]
    assert bash_candidates(None, "tristill --profile here models show ", **env) == ["starter",
                                                                                    "a/b-1.5"]
    assert bash_candidates(None, "tristill --profile away models show ", **env) == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_accept_their_script(shell):
    script = tristill("completion", shell).stdout
    assert "tristill __complete" in script.replace('"${words[1]}"', "tristill").replace(
        "$words[1]", "tristill")
    if subprocess.run(["which", shell], capture_output=True).returncode != 0:
        pytest.skip(f"{shell} is not installed here")
    done = subprocess.run([shell, "--no-execute", "/dev/stdin"] if shell == "fish" else
                          [shell, "-n", "/dev/stdin"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
