"""A full disk: what cannot be stored is refused, what is stored stays, serving goes on."""

import os
import subprocess

import pytest

from programs import Daemon

MEGABYTE = 1 << 20


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a small file system can only be mounted by root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)],
                          capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip("this machine does not let us mount: " + done.stderr.strip())
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path):
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return


def test_a_full_disk_refuses_clearly_and_serving_goes_on(small_disk, model, trace_lines, tiny_job):
    with Daemon(small_disk / "data", model) as daemon:
        ndjson = {"Content-Type": "application/x-ndjson"}
        kept = daemon.call("POST", "/traces?name=kept", raw=trace_lines(3), headers=ndjson).json()
        fill(small_disk / "filler")
        big = trace_lines(3000, length=64)
        answer = daemon.call("POST", "/traces?name=kept", raw=big, headers=ndjson)
        assert answer.status == 507, answer.body
        assert answer.error["message"]
        answer = daemon.call("POST", "/jobs", tiny_job)
        assert answer.status == 507, answer.body
        assert daemon.get("/jobs")["data"] == []
        assert daemon.get("/health") == {"status": "ok"}
        assert daemon.complete("x", max_tokens=4)["choices"]
        assert daemon.get("/traces/kept")["records"] == kept["records"]
        (small_disk / "filler").unlink()
        again = daemon.call("POST", "/traces?name=kept", raw=trace_lines(2), headers=ndjson)
        assert again.json()["records"] == kept["records"] + 2
