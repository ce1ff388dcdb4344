"""The command-line client against the real daemon and the real worker."""

import json
import shutil
import subprocess

import pytest

from programs import BIN, Daemon, clean_environment


def tristill(daemon, *args, stdin=b"", **env):
    env |= {"TRISTILL_SERVER": daemon.url, "XDG_CONFIG_HOME": "/nowhere"}
    done = subprocess.run([str(BIN / "tristill"), *args], input=stdin, capture_output=True,
                          env=clean_environment(**env), timeout=120)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def need_route(daemon, method, path):
    """Skips the test where the daemon does not have the route."""
    status = daemon.call(method, path, raw=b"{}", documented=False).status
    if status == 404 and daemon.call("GET", path, documented=False).status == 404:
        pytest.skip(f"the daemon has no {method} {path}")


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


def test_tokens_there_and_back(daemon, model):
    text = "def f():\n\treturn 'é'\n"
    code, ids, _ = tristill(daemon, "tokenize", stdin=text.encode())
    assert code == 0
    expected = daemon.post("/tokenize", {"content": text})["tokens"]
    assert ids.split() == [str(token) for token in expected]
    assert tristill(daemon, "tokenize", "--count", text)[1] == f"{len(ids.split())}\n"
    assert tristill(daemon, "detokenize", stdin=ids.encode()) == (0, text, "")
    code, out, _ = tristill(daemon, "tokenize", "--pieces", text)
    assert (code, out.count("\n")) == (0, len(ids.split()) + 1)


def test_models_show(daemon, model):
    code, out, _ = tristill(daemon, "models", "show", model.stem)
    assert code == 0
    assert f"model: {model.stem}" in " ".join(out.split())
    assert tristill(daemon, "models", "show", "no-such-model")[0] == 66


def test_a_table_of_log_probabilities(daemon):
    args = ["complete", "--max-tokens", "3", "--temperature", "0", "--logprobs", "2", "def "]
    code, out, _ = tristill(daemon, *args)
    assert code == 0
    assert len(out.split("TOKEN", 1)[1].splitlines()) == 4


def test_top_sees_the_model_and_its_latencies(daemon, model):
    daemon.complete("def ", max_tokens=4)
    code, out, err = tristill(daemon, "top", "--once", "--json", "--interval", "0.05")
    load = json.loads(out)
    assert code == 0, err
    assert [one["id"] for one in load["models"]] == daemon.models()
    assert load["models"][0]["running"] == 0
    first = {one["name"]: one for one in load["latencies"]}["first token"]
    assert first["count"] >= 1 and first["p50_seconds"] <= first["p99_seconds"]


# Routes that a daemon may not have


def test_infill_prints_the_middle(daemon, tmp_path):
    need_route(daemon, "POST", "/infill")
    file = tmp_path / "mean.py"
    file.write_text("def mean(xs):\n    return  / len(xs)\n")
    body = {"input_prefix": "def mean(xs):\n    return ", "input_suffix": " / len(xs)\n",
            "n_predict": 12, "temperature": 0}
    expected = json.loads(daemon.call("POST", "/infill", body, documented=False,
                                      valid=False).body)["content"]
    args = ["infill", "--file", str(file), "--line", "2", "--column", "12", "--max-tokens", "12",
            "--temperature", "0"]
    assert tristill(daemon, *args) == (0, expected, "")
    assert tristill(daemon, *args, "--no-stream") == (0, expected, "")


def test_scores_become_traces(own_daemon, tmp_path):
    need_route(own_daemon, "POST", "/v1/score")
    files, traces = [tmp_path / "a.py", tmp_path / "b.py"], tmp_path / "t.jsonl"
    files[0].write_text("def f(x):\n    return x\n")
    files[1].write_text("zqxj vwkp é\n")
    args = ["score", "--json", "--traces", str(traces)]
    for file in files:
        args += ["--file", str(file)]
    code, out, err = tristill(own_daemon, *args)
    assert code == 0, err
    code_score, noise_score = json.loads(out)["data"]
    assert code_score["perplexity"] < noise_score["perplexity"]
    assert code_score["scored_tokens"] == code_score["tokens"] - 1
    code, out, err = tristill(own_daemon, "traces", "upload", "mine", str(traces), "--json")
    assert code == 0, err
    assert json.loads(out)["records"] == 2


def test_chat_prints_what_the_api_answers(daemon):
    need_route(daemon, "POST", "/v1/chat/completions")
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8, "temperature": 0}
    answer = daemon.call("POST", "/v1/chat/completions", body, documented=False, valid=False)
    code, out, err = tristill(daemon, "chat", "--max-tokens", "8", "--temperature", "0", "hello")
    if answer.status == 200:
        assert (code, out) == (0, answer.json()["choices"][0]["message"]["content"])
    else:
        assert code != 0 and answer.error["message"] in err


def test_a_key_opens_what_its_scopes_say_until_it_is_revoked(model, tmp_path):
    with Daemon(tmp_path / "data", model, api_key="sk-root") as daemon:
        need_route(daemon, "GET", "/keys")
        root = {"TRISTILL_API_KEY": "sk-root"}
        code, out, err = tristill(daemon, "keys", "create", "ci", "--scope", "infer", **root)
        assert code == 0, err
        key = {"TRISTILL_API_KEY": out.strip()}
        assert tristill(daemon, "complete", "def ", "--max-tokens", "2", **key)[0] == 0
        assert tristill(daemon, "keys", "list", **key)[0] == 77
        listed = json.loads(tristill(daemon, "keys", "list", "--json", **root)[1])["data"]
        made = [one for one in listed if one["name"] == "ci"]
        assert len(made) == 1 and out.strip() not in json.dumps(listed)
        assert tristill(daemon, "keys", "revoke", made[0]["id"], **root)[0] == 0
        assert tristill(daemon, "complete", "def ", **key)[0] == 77


def test_a_model_is_served_and_served_no_longer(own_daemon, model):
    need_route(own_daemon, "POST", "/models")
    (own_daemon.data / "models").mkdir(exist_ok=True)
    shutil.copy(model, own_daemon.data / "models" / "second.gguf")
    code, out, err = tristill(own_daemon, "models", "add", "second.gguf", "--name", "two")
    assert (code, out) == (0, "two is served\n"), err
    assert "two" in own_daemon.models()
    assert tristill(own_daemon, "complete", "--model", "two", "--max-tokens", "2", "def ")[0] == 0
    assert tristill(own_daemon, "models", "remove", "two")[0] == 0
    assert "two" not in own_daemon.models()


def test_requests_are_listed(daemon):
    need_route(daemon, "GET", "/debug/requests")
    daemon.complete("def ", max_tokens=2)
    code, out, _ = tristill(daemon, "requests", "--limit", "1")
    assert code == 0
    assert out.splitlines()[1].endswith(("length", "stop"))
