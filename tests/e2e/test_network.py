"""The daemon where others reach it: TLS, Unix sockets, handed-down sockets, keys, foreign pages."""

import http.client
import json
import os
import socket
import ssl
import stat
import subprocess

import pytest

from programs import BIN, Daemon, clean_environment


def refusal_to_start(data, *args, **environment):
    """What a tristilld that must not start says."""
    done = subprocess.run([str(BIN / "tristilld"), "--port", "0", "--data", str(data), *args],
                          env=clean_environment(**environment), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60)
    assert done.returncode != 0, done.stdout
    return done.stdout


@pytest.fixture
def certificate(tmp_path):
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    return files


class TlsDaemon(Daemon):
    def trust(self, certificate):
        self.context = ssl.create_default_context(cafile=str(certificate))
        return self

    def connect(self, timeout=120):
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout,
                                           context=self.context)


def test_tls_serves_completions_whole_and_streamed(model, tmp_path, certificate):
    args = ["--tls-cert", str(certificate[0]), "--tls-key", str(certificate[1])]
    with TlsDaemon(tmp_path / "data", model, args=args).trust(certificate[0]) as daemon:
        assert daemon.url.startswith("https://")
        assert daemon.complete("def f", max_tokens=4)["choices"][0]["text"]
        body = {"prompt": "def f", "max_tokens": 4, "stream": True}
        answer = daemon.call("POST", "/v1/completions", body)
        assert answer.body.endswith(b"data: [DONE]\n\n")
        daemon.context = ssl.create_default_context()
        with pytest.raises(ssl.SSLCertVerificationError):
            daemon.call("GET", "/health")


def test_plain_http_to_https_says_so(tmp_path, certificate):
    args = ["--tls-cert", str(certificate[0]), "--tls-key", str(certificate[1])]
    with TlsDaemon(tmp_path / "data", args=args) as daemon:
        plain = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
        plain.request("GET", "/health")
        answer = plain.getresponse()
        assert answer.status == 400
        assert "https://" in json.loads(answer.read())["error"]["message"]


def ask_unix(path, request=b"GET /health HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n"):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(path))
        connection.sendall(request)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return int(answer.split()[1])


class UnixDaemon(Daemon):
    """Listens where it is told to, and not on 127.0.0.1."""

    def command(self, port=0):
        command = super().command(port)
        at = command.index("--host")
        return command[:at] + command[at + 2:]


def test_a_unix_socket_is_private_and_goes_with_the_daemon(model, tmp_path):
    path = tmp_path / "s"
    with UnixDaemon(tmp_path / "data", model, args=["--host", f"unix:{path}"]) as daemon:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert ask_unix(path) == 200
        daemon.kill()
        assert path.exists()
        daemon.start()  # on the file that the killed one left
        assert ask_unix(path) == 200
        assert daemon.stop() == 0
        assert not path.exists()


def test_a_handed_down_socket_is_served_and_outlives_the_daemon(tmp_path):
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    script = f'exec 3<&{listening.fileno()}; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@"'

    class HandedDaemon(Daemon):
        def command(self, port=0):
            return ["bash", "-c", script, *super().command(port)]

        def popen(self, command, **more):
            return subprocess.Popen(command, pass_fds=[listening.fileno()], **more)

    for _ in range(2):
        with HandedDaemon(tmp_path / "data") as daemon:
            assert daemon.port == port
            assert daemon.get("/livez") == {"status": "ok"}
            daemon.stop()
    waiting = socket.create_connection(("127.0.0.1", port), timeout=60)  # nobody refused it
    waiting.close()
    listening.close()


def test_an_open_daemon_stays_on_this_machine(tmp_path):
    said = refusal_to_start(tmp_path / "data", "--host", "0.0.0.0")
    assert "--allow-open-network" in said and "no API key exists" in said


def test_wrong_certificates_end_the_start(tmp_path, certificate):
    assert "tls_key" in refusal_to_start(tmp_path / "data", "--tls-cert", str(certificate[0]))
    assert "tls_cert" in refusal_to_start(tmp_path / "data", "--tls-cert", str(certificate[1]),
                                          "--tls-key", str(certificate[1]))


def test_keys_survive_kill_9_and_their_scopes_hold(model, tmp_path):
    with Daemon(tmp_path / "data", model) as daemon:
        admin = daemon.post("/keys", {"name": "me", "scopes": ["admin"]})
        daemon.kill()
        daemon.start()
        assert daemon.call("GET", "/v1/models").status == 401
        body = {"name": "editor", "scopes": ["infer"], "requests_per_minute": 3}
        made = daemon.call("POST", "/keys", body, key=admin["key"])
        assert made.status == 200
        editor = made.json()
        daemon.kill()
        daemon.start()
        answer = daemon.call("GET", "/v1/models", key=editor["key"])
        assert answer.status == 200
        assert answer.headers["x-ratelimit-remaining-requests"] == "2"
        refused = daemon.call("GET", "/jobs", key=editor["key"])
        assert refused.status == 403
        assert refused.error["type"] == "permission_error" and "train" in refused.error["message"]
        statuses = [daemon.call("GET", "/v1/models", key=editor["key"]).status for _ in range(3)]
        assert statuses == [200, 200, 429]
        listed = daemon.call("GET", "/keys", key=admin["key"])
        assert {key["name"] for key in listed.json()["data"]} == {"me", "editor"}
        assert editor["key"] not in listed.body.decode()
        assert daemon.call("DELETE", f"/keys/{editor['id']}", key=admin["key"]).status == 200
        assert daemon.call("GET", "/v1/models", key=editor["key"]).status == 401
        for secret in (admin["key"], editor["key"]):
            assert secret not in "".join(daemon.log)
            assert secret not in (daemon.data / "keys.json").read_text()


def test_pages_of_allowed_origins_only_may_use_the_api(model, tmp_path):
    args = ["--cors-origins", "https://ide.example"]
    with Daemon(tmp_path / "data", model, args=args) as daemon:
        ask = {"Access-Control-Request-Method": "POST",
               "Access-Control-Request-Headers": "authorization"}
        mine, others = {"Origin": "https://ide.example"}, {"Origin": "https://evil.example"}
        preflight = daemon.call("OPTIONS", "/v1/completions", headers=mine | ask, documented=False)
        assert preflight.status == 204
        assert preflight.headers["access-control-allow-origin"] == "https://ide.example"
        body = {"prompt": "x", "max_tokens": 1}
        answer = daemon.call("POST", "/v1/completions", body, headers=mine)
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == "https://ide.example"
        refused = daemon.call("POST", "/v1/completions", body, headers=others)
        assert refused.status == 403
        assert "access-control-allow-origin" not in refused.headers


def test_a_name_that_a_stranger_made_point_here_is_not_answered(daemon):
    answer = daemon.call("GET", "/v1/models", headers={"Host": "evil.example"}, documented=False)
    assert answer.status == 421
    assert "allowed_hosts" in answer.error["message"]
