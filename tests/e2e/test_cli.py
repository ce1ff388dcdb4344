"""The command-line client against the real daemon and the real worker."""

import json
import subprocess

import pytest

from programs import BIN, clean_environment


def tristill(daemon, *args, stdin=b""):
    done = subprocess.run([str(BIN / "tristill"), *args], input=stdin, capture_output=True,
                          env=clean_environment(TRISTILL_SERVER=daemon.url), timeout=120)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_complete_prints_what_the_api_answers(daemon, model):
    expected = daemon.complete("import os\n", max_tokens=20, temperature=0)["choices"][0]["text"]
    args = ["complete", "--max-tokens", "20", "--temperature", "0"]
    assert tristill(daemon, *args, stdin=b"import os\n") == (0, expected, "")
    code, out, _ = tristill(daemon, *args, "--json", "--model", model.stem, "import os\n")
    assert (code, json.loads(out)["choices"][0]["text"]) == (0, expected)


def test_models_and_health(daemon, model):
    assert tristill(daemon, "health")[:2] == (0, f"{daemon.url} ok\n")
    code, out, _ = tristill(daemon, "models")
    assert code == 0 and model.stem in out


def test_daemon_errors_reach_the_terminal(daemon):
    code, out, err = tristill(daemon, "jobs", "show", "ftjob-nothing")
    assert (code, out) == (66, "")
    assert "ftjob-nothing" in err
    code, _, err = tristill(daemon, "jobs", "create", "-", stdin=b'{"kind": "train"}')
    assert code == 64 and err.startswith("tristill: ")


@pytest.mark.skipif(not (BIN / "tristill-worker").exists(), reason="tristill-worker is not built")
def test_create_watch_complete(own_daemon, small_job, tmp_path):
    file = tmp_path / "job.json"
    file.write_text(json.dumps(small_job(own_daemon, "by-cli", 6)))
    code, out, err = tristill(own_daemon, "jobs", "create", str(file), "--watch")
    assert code == 0, err + own_daemon.log_text()
    assert "loss" in out and "by-cli is served" in out
    args = ["complete", "--model", "by-cli", "--max-tokens", "4", "def "]
    assert tristill(own_daemon, *args)[0] == 0
    code, out, _ = tristill(own_daemon, "jobs", "list", "--json")
    assert json.loads(out)["data"][0]["status"] == "succeeded"
    code, out, _ = tristill(own_daemon, "jobs", "list")
    assert "succeeded" in out and "by-cli" in out
