"""The OpenAI Node SDK's own generated tests against the daemon. Its package lacks them, so this
needs a checkout: TRISTILL_OPENAI_NODE=PATH. Otherwise test_completions_node.py is what Node does.
"""

import json
import os
import pathlib
import re
import subprocess

import pytest

from openapi_contract import SOURCE
from programs import Daemon

CHECKOUT = os.environ.get("TRISTILL_OPENAI_NODE")
VITEST = SOURCE / "build" / "vitest"
FOLDER = "tests/api-resources"

pytestmark = pytest.mark.skipif(
    not CHECKOUT, reason="TRISTILL_OPENAI_NODE names no checkout of openai-node")


@pytest.fixture(scope="module")
def base_url(model, tmp_path_factory):
    asked = re.search(r"models\.retrieve\('([^']+)'",
                      (pathlib.Path(CHECKOUT) / FOLDER / "models.test.ts").read_text())
    served = tmp_path_factory.mktemp("served") / f"{asked[1]}.gguf"
    served.symlink_to(model)
    with Daemon(tmp_path_factory.mktemp("data"), served) as daemon:
        yield daemon.url + "/v1"


def run_suite(base_url, name, wanted, report):
    """name -> status of the tests of one file whose names match wanted."""
    config = VITEST / "vitest.config.mjs"
    source = (pathlib.Path(CHECKOUT) / "src").as_posix()
    config.write_text(f"""export default {{
  root: {json.dumps(CHECKOUT)},
  resolve: {{alias: [
    {{find: /^openai$/, replacement: {json.dumps(source + "/index.ts")}}},
    {{find: /^openai\\/(.*)$/, replacement: {json.dumps(source + "/$1")}}},
  ]}},
  test: {{environment: 'node', globals: true, testTimeout: 30000}},
}};
""")
    done = subprocess.run(
        ["node", VITEST / "node_modules/vitest/vitest.mjs", "run", "--config", config,
         "--reporter=json", f"--outputFile={report}", "-t", wanted, f"{FOLDER}/{name}"],
        cwd=VITEST, capture_output=True, text=True, timeout=300,
        env=os.environ | {"TEST_API_BASE_URL": base_url})
    assert report.exists(), done.stdout[-4000:] + done.stderr[-4000:]
    tests = [test for one in json.loads(report.read_text())["testResults"]
             for test in one["assertionResults"]]
    return {test["fullName"]: test for test in tests}


@pytest.mark.parametrize("name,wanted", [
    ("completions.test.ts", "."),
    ("models.test.ts", "^(?!.*delete)"),  # a model's name has no colon: ft:gpt-4o-mini:... is none
    ("embeddings.test.ts", "."),
    ("chat/completions/completions.test.ts", "create"),  # answers are not stored
])
def test_generated_tests_of_the_node_sdk(base_url, tmp_path, name, wanted):
    tests = run_suite(base_url, name, wanted, tmp_path / "report.json")
    ran = [test for test in tests.values() if test["status"] != "skipped"]
    bad = [f"{test['fullName']}: {test['failureMessages']}" for test in ran
           if test["status"] != "passed"]
    assert ran and not bad, "\n".join(bad)
