"""The OpenAI Python SDK's own generated tests, from its source archive, against the daemon.

tests/e2e/run.sh lays them into build/openai-VERSION. One test here is one of their files; what is
left out of a file is named with its reason, and both numbers are exact for the pinned version.
"""

import os
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as xml

import pytest

from contract_proxy import ContractProxy
from openapi_contract import SOURCE
from programs import CONTRACT, Daemon

openai = pytest.importorskip("openai", reason="the OpenAI SDK cannot be installed here")

SUITE = SOURCE / "build" / f"openai-{openai.__version__}"
PLUGINS = ["benchmark", "cacheprovider", "schemathesis", "xdist"]

# Path parameters that are empty are refused by the SDK itself: those tests always run.
NOT_STORED = "answers are not stored: there is nothing to retrieve, update, list or delete"
STORED = "(retrieve or update or list or delete) and not path_params"
NO_COLON = "a model's name has no colon, so there is never a ft:gpt-4o-mini:... to delete"
NOT_DECODED = "the SDK asks for base64 there, and refuses it in strict mode before it decodes it"
UNREAD = "(strict or aiohttp) and not all_params"
DELETED = "delete and not path_params"


@pytest.fixture(scope="module")
def base_url(model, tmp_path_factory):
    """A daemon whose model has the name that test_models.py asks for, behind the contract."""
    if not (SUITE / "tests").is_dir():
        pytest.skip(f"the SDK's source archive cannot be had here ({SUITE.name})")
    asked = re.search(r'models\.retrieve\(\s*"([^"]+)"',
                      (SUITE / "tests/api_resources/test_models.py").read_text())
    served = tmp_path_factory.mktemp("served") / f"{asked[1]}.gguf"
    served.symlink_to(model)
    with Daemon(tmp_path_factory.mktemp("data"), served) as daemon:
        with ContractProxy(daemon) as proxy:
            yield proxy.url + "/v1"
            assert proxy.violations == []


def run_suite(base_url, name, left_out, report):
    """(passed, left out, what failed) of one file of the SDK's tests."""
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-o", "addopts=", f"--junitxml={report}",
               *(argument for plugin in PLUGINS for argument in ("-p", f"no:{plugin}")),
               f"tests/api_resources/{name}"]
    if left_out:
        command += ["-k", f"not ({left_out})"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=SUITE, capture_output=True, text=True, timeout=300,
                          env=environment | {"TEST_API_BASE_URL": base_url})
    assert pathlib.Path(report).exists(), done.stdout[-4000:] + done.stderr[-4000:]
    cases = list(xml.parse(report).iter("testcase"))
    bad = [case.get("name") for case in cases
           if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case.get("name") for case in cases if case.find("skipped") is not None]
    deselected = re.search(r"(\d+) deselected", done.stdout)
    n_left_out = int(deselected[1]) if deselected else 0
    passed = len(cases) - len(bad) - len(skipped)
    return passed, n_left_out, "\n".join(bad + skipped) and done.stdout[-6000:]


@pytest.mark.parametrize("name,left_out,reason,n_passed,n_left_out", [
    ("test_completions.py", "", "", 40, 0),
    ("test_models.py", DELETED, NO_COLON, 40, 15),
    ("test_embeddings.py", UNREAD, NOT_DECODED, 11, 9),
    pytest.param("chat/test_completions.py", STORED, NOT_STORED, 55, 65, marks=pytest.mark.skipif(
        CONTRACT.find("POST", "/v1/chat/completions") is None,
        reason="openapi.yaml has no such route")),
])
def test_generated_tests_of_the_python_sdk(base_url, tmp_path, name, left_out, reason, n_passed,
                                           n_left_out):
    passed, deselected, failures = run_suite(base_url, name, left_out, tmp_path / "report.xml")
    assert not failures, failures
    assert (passed, deselected) == (n_passed, n_left_out), reason
