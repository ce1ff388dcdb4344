"""Fixtures of the end-to-end tests: the model, shared daemons, and small training jobs."""

import copy
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from contract_proxy import ContractProxy  # noqa: E402
from openapi_contract import SOURCE  # noqa: E402
from programs import BIN, Daemon  # noqa: E402


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A model file: TRISTILL_TEST_MODEL, the starter model, or a random one made for the run."""
    named = os.environ.get("TRISTILL_TEST_MODEL")
    if named:
        return pathlib.Path(named)
    starter = SOURCE / "assets" / "starter.gguf"
    if starter.exists():
        return starter
    path = tmp_path_factory.mktemp("model") / "random.gguf"
    subprocess.run([str(BIN / "tristill-make-test-model"), str(path)], check=True)
    return path


@pytest.fixture(scope="session")
def daemon(model, tmp_path_factory):
    """One daemon for all tests that only ask."""
    with Daemon(tmp_path_factory.mktemp("data"), model) as running:
        yield running
        assert running.process.poll() is None, "the daemon died:\n" + running.log_text()


@pytest.fixture
def own_daemon(model, tmp_path):
    """A daemon of the test's own, which it may kill."""
    with Daemon(tmp_path / "data", model) as running:
        yield running


@pytest.fixture
def proxy(daemon):
    """What SDKs talk to: the daemon behind a check of every request and answer."""
    with ContractProxy(daemon) as running:
        yield running
        assert running.violations == []


@pytest.fixture(scope="session")
def tiny_job():
    """configs/jobs/train-tiny.json as committed."""
    return json.loads((SOURCE / "configs" / "jobs" / "train-tiny.json").read_text())


@pytest.fixture
def small_job(tiny_job):
    """A function: (daemon, name, steps, **changes) -> the body of a job of so many steps on a
    small corpus, which it lays into the daemon's data directory."""
    def make(daemon, name, steps, **changes):
        folder = daemon.data / "corpora" / "small"
        if not folder.exists():
            folder.mkdir(parents=True)
            library = pathlib.Path(json.__file__).resolve().parent.parent
            for source in ("argparse.py", "ast.py", "calendar.py", "cmd.py", "csv.py", "difflib.py",
                           "doctest.py", "fractions.py", "heapq.py", "inspect.py", "pickle.py",
                           "shutil.py", "statistics.py", "tarfile.py", "textwrap.py", "typing.py"):
                if (library / source).exists():
                    shutil.copy(library / source, folder / source)
        body = copy.deepcopy(tiny_job)
        body["name"] = name
        body["data"]["corpora"] = [{"name": "small"}]
        body["budget"] = {"max_steps": steps}
        body |= {"checkpoint_seconds": 0.5, "log_every": 1, "eval_tokens": 2048, "threads": 1,
                 "batch_tokens": 512, "sequence_length": 128}
        return body | changes
    return make


@pytest.fixture
def trace_lines(model):
    """A function: n -> JSON Lines of n teacher answers for the model's tokenizer, as bytes."""
    fingerprint = os.environ.get("TRISTILL_TOKENIZER_FINGERPRINT", "0" * 64)

    def make(n, tokenizer=fingerprint, length=8):
        records = []
        for i in range(n):
            tokens = [5 + (i + k) % 7 for k in range(length)]
            top = [None] + [[[t, -0.5], [t + 1, -1.5]] for t in tokens[1:]]
            records.append({"tokenizer": tokenizer, "teacher": "made-up", "sampling": "t1",
                            "prompt_tokens": 1, "tokens": tokens, "top_logprobs": top})
        return "".join(json.dumps(record) + "\n" for record in records).encode()
    return make
