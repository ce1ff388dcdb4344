"""slowhttptest against the daemon: while it holds its connections, /health keeps answering."""

import re
import shutil
import socket
import subprocess

import pytest

from programs import Daemon

TOOL = shutil.which("slowhttptest")
COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
SECONDS = 8
CONNECTIONS = 300


@pytest.mark.skipif(TOOL is None, reason="slowhttptest is not installed")
@pytest.mark.parametrize("mode", ["-H", "-B", "-X", "-R"],
                         ids=["slow headers", "slow bodies", "slow reads", "ranges"])
def test_health_keeps_answering_under_slow_clients(model, tmp_path, mode):
    with Daemon(tmp_path / "data", model) as daemon:
        path = {"-B": "/v1/completions", "-X": "/openapi.yaml"}.get(mode, "/")
        command = [TOOL, mode, "-c", str(CONNECTIONS), "-r", "200", "-i", "1", "-l", str(SECONDS),
                   "-u", f"http://127.0.0.1:{daemon.port}{path}", "-p", "30"]
        command += {"-B": ["-s", "100000", "-t", "POST"], "-X": ["-w", "1", "-y", "2", "-z", "1"]
                    }.get(mode, [])
        tool = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            asked = 0
            while tool.poll() is None:
                answer = daemon.call("GET", "/health", timeout=30)
                assert answer.status == 200
                asked += 1
        finally:
            tool.kill()
            said = COLOUR.sub("", tool.communicate()[0].decode(errors="replace"))
        probes = re.findall(r"service available: *(YES|NO)", said)
        assert probes and "NO" not in probes, said[-3000:]
        assert asked > 0
        assert daemon.process.poll() is None
        with socket.create_connection(("127.0.0.1", daemon.port), timeout=30):
            pass
