"""Schemathesis against the daemon: from openapi.yaml it makes requests that the document allows and
such as it forbids, and judges every answer. One test an operation; the same requests every time.

TRISTILL_SCHEMATHESIS_EXAMPLES (default 8) bounds the random requests of an operation, which come
after those on the edges of every field.
"""

import os
import shutil

import pytest

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis cannot be installed here")
import hypothesis  # noqa: E402
import requests  # noqa: E402
from schemathesis.checks import load_all_checks  # noqa: E402
from schemathesis.specs.openapi.checks import negative_data_rejection  # noqa: E402
from schemathesis.config import SchemathesisConfig  # noqa: E402

from openapi_contract import Contract  # noqa: E402
from programs import Daemon  # noqa: E402

EXAMPLES = int(os.environ.get("TRISTILL_SCHEMATHESIS_EXAMPLES", 8))
KEY = "key-of-the-test"
SERVED = "judged"
load_all_checks()


def allow_null(document, schema, seen):
    """Every optional field of a request may be null, says info.description of all at once."""
    if set(schema) == {"$ref"}:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    if id(schema) in seen:
        return
    seen.add(id(schema))
    for name, field in schema.get("properties", {}).items():
        allow_null(document, field, seen)
        if name not in schema.get("required", []):
            schema["properties"][name] = {"anyOf": [{"type": "null"}, field]}
    items = [schema["items"]] if "items" in schema else []
    for part in items + [one for key in ("oneOf", "anyOf", "allOf") for one in schema.get(key, [])]:
        allow_null(document, part, seen)


def readable_document():
    """openapi.yaml without the bodies that schemathesis cannot read: events are held against the
    contract elsewhere (openapi_contract.py), YAML and plain text are no JSON values. The example
    job names a corpus that is not there: nothing is to be trained."""
    document = Contract.load().document
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    for operation in operations:  # on any route, says info.description
        for status in ("400", "414", "415", "431"):
            operation["responses"].setdefault(
                status, {"$ref": "#/components/responses/BadRequest"})
    for responses in [document["components"]["responses"],
                      *(operation["responses"] for operation in operations)]:
        for response in responses.values():
            for kind, media in response.get("content", {}).items():
                if kind != "application/json":
                    media["schema"] = {}
    seen = set()
    for body in [*document["components"]["requestBodies"].values(),
                 *(operation.get("requestBody", {}) for operation in operations)]:
        for media in body.get("content", {}).values():
            allow_null(document, media["schema"], seen)
    jobs = document["paths"]["/jobs"]["post"]["requestBody"]["content"]["application/json"]
    for example in jobs["examples"].values():
        example["value"]["data"] = {"corpora": [{"name": "there-is-no-such-corpus"}]}
    return document


@schemathesis.serializer("application/x-ndjson")
def lines_as_they_are(context, value):
    return {"data": value if isinstance(value, (str, bytes)) else str(value)}


CONFIG = SchemathesisConfig.from_dict({
    "checks": {
        # What a schema cannot say: unknown ids, a context that is full, fields that clash.
        "positive_data_acceptance": {"enabled": False},
    },
    # TRACE and QUERY are implemented nowhere: 501, as RFC 9110 has it, not a defect.
    "phases": {"coverage": {"unexpected-methods": ["GET", "PUT", "POST", "DELETE", "PATCH"]}},
})
schema = schemathesis.openapi.from_dict(readable_document(), config=CONFIG)


@pytest.fixture(scope="module")
def session():
    with requests.Session() as kept:
        kept.trust_env = False
        yield kept


@pytest.fixture(scope="module")
def guarded(model, tmp_path_factory):
    """A daemon with an API key, so that requests without one are found out; its model is a copy
    under a name that the document's examples do not have, for some of them delete."""
    served = tmp_path_factory.mktemp("served") / f"{SERVED}.gguf"
    shutil.copy(model, served)
    with Daemon(tmp_path_factory.mktemp("data"), served, api_key=KEY) as daemon:
        yield daemon
        assert daemon.process.poll() is None, daemon.log_text()


COSTLY = {"max_tokens": (0, 1 << 24), "max_completion_tokens": (0, 1 << 24), "n": (1, 128),
          "n_cmpl": (1, 128), "best_of": (0, 20), "n_predict": (-2, 1 << 24)}


def cheaper(body, goes_on):
    """body with less to compute; what the document allows stays allowed, the rest as it is."""
    cheap = dict(body)
    for name, (least, most) in COSTLY.items():
        given = cheap.get(name)
        if type(given) is int and least <= given <= most:
            cheap[name] = 1
    if goes_on and cheap.get("n_predict") is None and cheap.get("max_tokens") is None:
        cheap["n_predict"] = 1  # else to the end of the context
    return cheap


@schema.parametrize()
@hypothesis.settings(max_examples=EXAMPLES, derandomize=True, database=None, deadline=None,
                     suppress_health_check=list(hypothesis.HealthCheck))
def test_schemathesis_finds_nothing(guarded, session, case):
    if case.method == "DELETE" and SERVED in (case.path_parameters or {}).values():
        return  # learnt from an answer; the others need the model
    if isinstance(case.body, dict) and case.operation.path != "/jobs":
        case.body = cheaper(case.body, case.operation.path in ("/completion", "/infill"))
    # Names in a query that nobody knows are not read, and any text is a text.
    known = {one.name: one.definition.get("schema", {}).get("type") for one in case.operation.query}
    only_texts = all(kind == "string" for kind in known.values())
    is_lenient = only_texts or not set(case.query or {}) <= set(known)
    excluded = [negative_data_rejection] if is_lenient and not case.operation.body else []
    case.call_and_validate(base_url=guarded.url, session=session, excluded_checks=excluded,
                           headers={"Authorization": f"Bearer {KEY}"})
