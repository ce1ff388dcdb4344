"""Completions through the official OpenAI Node SDK: node/completions.mjs prints what it saw."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest

from openapi_contract import SOURCE

HERE = pathlib.Path(__file__).resolve().parent
NODE = pathlib.Path(os.environ.get("TRISTILL_NODE_MODULES", SOURCE / "build" / "node"))


def run_script(name, proxy, model):
    """What one of node/ prints."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not (NODE / "node_modules" / "openai").is_dir():
        pytest.skip("the OpenAI Node SDK cannot be installed here")
    # Node resolves packages from the script's folder upwards.
    script = NODE / name
    shutil.copy(HERE / "node" / name, script)
    done = subprocess.run(["node", str(script), proxy.url + "/v1", model.stem],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def seen(proxy, model):
    return run_script("completions.mjs", proxy, model)


def test_node_sees_what_python_sees(seen, daemon, model):
    def text(**fields):
        return daemon.complete("def add(a, b):\n    return", model=model.stem, max_tokens=12,
                               **fields)["choices"][0]["text"]
    assert seen["whole"]["choices"][0]["text"] == text(temperature=0)
    assert seen["streamed"] == text(temperature=1, seed=11)
    assert seen["usage"]["total_tokens"] > 0
    assert len(seen["choices"]) == 2
    assert seen["logprobs"]["tokens"]
    assert model.stem in seen["models"]
    assert seen["model"]["id"] == model.stem


def test_node_embeds_the_same_in_both_encodings(seen):
    for packed, plain in zip(seen["embedded"], seen["embeddedFloats"], strict=True):
        assert packed["embedding"] == pytest.approx(plain["embedding"], abs=1e-6)
        assert sum(x * x for x in plain["embedding"]) == pytest.approx(1, abs=1e-4)
    assert seen["embeddedFloats"][0]["embedding"] != seen["embeddedFloats"][1]["embedding"]


def test_node_gets_errors_as_exceptions(seen):
    assert seen["bad_value"] == {"status": 400, "param": "temperature",
                                 "type": "invalid_request_error", "class": "BadRequestError"}
    assert seen["unknown_model"]["status"] == 404


def test_node_may_leave_a_stream_early(seen, daemon):
    assert seen["left_after"] == 1
    assert daemon.get("/health") == {"status": "ok"}
