"""A training job that a launcher runs: its directory, and how far it has come."""

import json
import os
import pathlib
import socket
import subprocess
import time

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("TRISTILL_BIN", SOURCE / "build/release/bin")).resolve()
LAUNCH = SOURCE / "configs/launch"
POLL_SECONDS = 0.25
MOST_SECONDS = 180
ENDS_WITH_US = ("setpriv", "--pdeathsig", "TERM")  # also when the tests are killed
LAUNCHERS = ("TRISTILL_", "OMPI_", "PMIX_", "SLURM_", "TORCHELASTIC_", "TORCH_ELASTIC_", "PET_")
PLACES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS",
          "HOSTS", "RANKS", "MASTER", "PORT", "NODES", "NODE", "GLOO_SOCKET_IFNAME")


def environment(**extra):
    """This one without what launchers set and read, and with the programs in its PATH."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(LAUNCHERS) and name not in PLACES}
    return kept | {"PATH": f"{BIN}:{os.environ['PATH']}"} | extra


def free_ports():
    """The first of two ports in a row that nobody has."""
    while True:
        with socket.socket() as one, socket.socket() as next_one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                next_one.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def wait_until(reached, what, told, process=None):
    """Until reached() is true; fails, with what told() says, when the process ends first."""
    deadline = time.monotonic() + MOST_SECONDS
    while not reached():
        assert process is None or process.poll() is None, f"it ended before {what}:\n{told()}"
        assert time.monotonic() < deadline, f"{what}: not within {MOST_SECONDS} s:\n{told()}"
        time.sleep(POLL_SECONDS)


class LaunchedJob:
    """A job's directory. Launchers run in its parent and write to launcher.log there."""

    def __init__(self, folder, job):
        self.folder = folder / "run"
        self.folder.mkdir(parents=True)
        (self.folder / "job.json").write_text(json.dumps(job))
        self.log = folder / "launcher.log"

    def start(self, *command, **extra):
        with self.log.open("a") as log:
            return subprocess.Popen([*ENDS_WITH_US, *command, self.folder], stdout=log,
                                    stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                    cwd=self.folder.parent, env=environment(**extra))

    def told(self):
        """The last of what launcher and ranks said."""
        return self.log.read_text(errors="replace")[-6000:] if self.log.exists() else ""

    def events(self):
        """Those that are whole, oldest first."""
        path = self.folder / "events.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]

    def steps(self):
        """Those whose loss was told."""
        return [int(event["numbers"]["step"]) for event in self.events()
                if "loss" in event["numbers"]]

    def outcomes(self):
        return [event["texts"]["outcome"] for event in self.events() if event["type"] == "result"]

    def wait_for_a_step(self, process=None):
        wait_until(self.steps, "the first step", self.told, process)

    def model(self):
        return (self.folder / "student.gguf").read_bytes()

    def checkpoint_step(self):
        return max(int(path.name) for path in (self.folder / "checkpoints").iterdir())

    def expect_stopped(self, last_step):
        """It ended by a signal in the middle, and left where to go on from."""
        assert self.outcomes()[-1] == "interrupted", self.told()
        assert 0 < self.checkpoint_step() < last_step
        assert not (self.folder / "student.gguf").exists()
