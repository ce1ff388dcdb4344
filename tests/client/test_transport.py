"""How the client reaches its daemon: sockets, TLS, keys, and the profiles that name them."""

import json
import subprocess

import pytest

from client_program import NOT_FOUND, OK, PERMISSION, UNAVAILABLE, USAGE, tristill
from fake_daemon import FakeDaemon, error_answer, json_answer

HEALTH = json_answer({"status": "ok"})


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for localhost that vouches for itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "cert.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-out", str(files[0]), "-keyout", str(files[1])],
                   check=True, capture_output=True)
    return [str(file) for file in files]


def write_config(folder, **value):
    file = folder / "tristill" / "config.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value))
    return {"XDG_CONFIG_HOME": str(folder)}


def test_a_unix_socket_carries_requests_and_streams(tmp_path):
    with FakeDaemon(socket=tmp_path / "d.sock") as daemon:
        daemon.on("GET", "/health", HEALTH)
        done = tristill("health", "--server", f"unix:{tmp_path}/d.sock", "--api-key", "sk")
        assert (done.returncode, done.stdout) == (OK, f"unix:{tmp_path}/d.sock ok\n"), done.stderr
        assert daemon.calls[0].headers["host"] == "localhost"
        assert daemon.calls[0].headers["authorization"] == "Bearer sk"


def test_a_missing_socket_is_told(tmp_path):
    done = tristill("health", "--server", f"unix:{tmp_path}/nothing.sock")
    assert done.returncode == UNAVAILABLE
    assert f"cannot reach unix:{tmp_path}/nothing.sock" in done.stderr


def test_https_trusts_the_named_certificate_alone(certificate):
    with FakeDaemon(certificate=certificate) as daemon:
        daemon.on("GET", "/health", HEALTH)
        done = tristill("health", "--ca-file", certificate[0], daemon=daemon)
        assert (done.returncode, done.stdout) == (OK, f"{daemon.url} ok\n"), done.stderr
        done = tristill("health", daemon=daemon)
        assert done.returncode == UNAVAILABLE
        assert "--ca-file" in done.stderr
        assert len(daemon.calls) == 1
        done = tristill("health", daemon=daemon, TRISTILL_CA_FILE="/nowhere.pem")
        assert done.returncode == NOT_FOUND


def test_a_profile_names_server_key_and_model(daemon, tmp_path):
    daemon.on("POST", "/tokenize", json_answer({"tokens": [1], "count": 1, "max_model_len": 9}))
    (tmp_path / "tristill").mkdir()
    (tmp_path / "tristill" / "key").write_text("sk-home\n")
    env = write_config(tmp_path, profile="home", profiles={
        "home": {"server": daemon.url, "api_key_file": "key", "model": "big"},
        "other": {"server": "http://127.0.0.1:1"}})
    assert tristill("tokenize", "x", **env).stdout == "1\n"
    assert daemon.calls[0].headers["authorization"] == "Bearer sk-home"
    assert daemon.calls[0].json()["model"] == "big"
    assert tristill("tokenize", "x", TRISTILL_PROFILE="other", **env).returncode == UNAVAILABLE
    assert tristill("tokenize", "x", "--profile", "home", "--model", "m", TRISTILL_PROFILE="other",
                    **env).returncode == OK
    assert daemon.calls[1].json()["model"] == "m"
    with FakeDaemon() as elsewhere:
        elsewhere.on("POST", "/tokenize", json_answer({"tokens": [2]}))
        assert tristill("tokenize", "x", daemon=elsewhere, **env).stdout == "2\n"
        assert "authorization" not in elsewhere.calls[0].headers


def test_the_environment_names_a_model(daemon):
    daemon.on("POST", "/tokenize", json_answer({"tokens": []}))
    tristill("tokenize", "x", daemon=daemon, TRISTILL_MODEL_NAME="m", TRISTILL_MODEL="file.gguf")
    assert daemon.calls[0].json()["model"] == "m"


def test_config_show_tells_origins_and_no_secrets(daemon, tmp_path):
    env = write_config(tmp_path, profiles={"home": {"server": daemon.url, "model": "big"}})
    args = ["config", "show", "--profile", "home"]
    done = tristill(*args, TRISTILL_API_KEY="sk-secret", **env)
    assert done.returncode == OK, done.stderr
    assert "secret" not in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["server", daemon.url, "profile", "home"] in lines
    assert ["api_key", "***", "environment", "TRISTILL_API_KEY"] in lines
    shown = json.loads(tristill(*args, "--json", TRISTILL_API_KEY="sk-secret", **env).stdout)
    assert shown["model"] == {"value": "big", "origin": "profile home"}
    assert shown["profile"]["origin"] == "flag --profile"
    assert shown["api_key"]["value"] == "***"
    assert daemon.calls == []


def test_a_wrong_configuration_file_is_refused_by_name(tmp_path):
    env = write_config(tmp_path, profiles={"home": {"servre": "x"}})
    done = tristill("health", **env)
    assert done.returncode == USAGE
    assert '"profiles.home.servre" is unknown' in done.stderr
    done = tristill("health", "--profile", "x")
    assert done.returncode == NOT_FOUND


def test_a_refused_key_is_told_with_the_ways_to_give_one(daemon):
    daemon.on("GET", "/v1/models", error_answer(401, "the API key is wrong"))
    done = tristill("models", "list", daemon=daemon)
    assert done.returncode == PERMISSION
    assert "--api-key-file" in done.stderr
    daemon.on("GET", "/v1/models", error_answer(403, "the key lacks the scope admin"))
    done = tristill("models", "list", daemon=daemon)
    assert done.returncode == PERMISSION
    assert "--api-key-file" not in done.stderr
