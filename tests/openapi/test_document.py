"""openapi.yaml is itself sound: references resolve, examples validate, every operation is named."""

import json
import pathlib
import re
import sys

import jsonschema
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from openapi_contract import Contract, ContractViolation, SOURCE  # noqa: E402

CONTRACT = Contract.load()


def walk(node, path=()):
    yield path, node
    if isinstance(node, dict):
        for key, value in node.items():
            yield from walk(value, path + (key,))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from walk(value, path + (index,))


def test_is_openapi_3_1():
    assert CONTRACT.document["openapi"].startswith("3.1.")
    assert CONTRACT.document["info"]["license"]["identifier"] == "Apache-2.0"


def test_every_reference_resolves():
    refs = [node["$ref"] for _, node in walk(CONTRACT.document)
            if isinstance(node, dict) and "$ref" in node]
    assert refs
    for ref in refs:
        assert CONTRACT.resolve({"$ref": ref}) is not None, ref


def test_every_component_is_used():
    used = {node["$ref"] for _, node in walk(CONTRACT.document)
            if isinstance(node, dict) and "$ref" in node}
    lines_only = {"TraceRecord"}  # documented for the lines of POST /traces
    for group, items in CONTRACT.document["components"].items():
        if group == "securitySchemes":
            continue
        for name in items:
            assert f"#/components/{group}/{name}" in used or name in lines_only, name


def test_every_schema_is_json_schema():
    for name, schema in CONTRACT.document["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema), name


def test_every_operation_has_a_name_of_its_own_and_documented_answers():
    names = []
    for template, method, operation in CONTRACT.operations():
        names.append(operation["operationId"])
        assert operation["summary"] and operation["tags"], (method, template)
        assert "200" in operation["responses"], (method, template)
        if operation.get("security") != []:
            assert "401" in operation["responses"], (method, template)
        for status, response in operation["responses"].items():
            assert CONTRACT.resolve(response)["description"], (method, template, status)
    assert len(names) == len(set(names))


def test_path_parameters_are_declared():
    for template, method, operation in CONTRACT.operations():
        in_path = set(re.findall(r"\{([a-z_]+)\}", template))
        declared = {p["name"] for p in map(CONTRACT.resolve, operation.get("parameters", []))
                    if p["in"] == "path"}
        assert in_path == declared, (method, template)


def examples():
    for path, node in walk(CONTRACT.document):
        if isinstance(node, dict) and "schema" in node and "examples" in node:
            for name, example in node["examples"].items():
                where = "/".join(map(str, path[-3:] + (name,)))
                yield pytest.param(node["schema"], example["value"], id=where)


@pytest.mark.parametrize("schema,value", list(examples()))
def test_examples_validate(schema, value):
    CONTRACT.check(schema, value, "example")


def test_example_of_a_trace_line_is_a_record():
    media = CONTRACT.document["paths"]["/traces"]["post"]["requestBody"]["content"]
    lines = media["application/x-ndjson"]["examples"]["one"]["value"].splitlines()
    assert lines
    for line in lines:
        CONTRACT.check({"$ref": "#/components/schemas/TraceRecord"}, json.loads(line), "line")


@pytest.mark.parametrize("path", sorted((SOURCE / "configs" / "jobs").glob("*.json")),
                         ids=lambda p: p.name)
def test_committed_job_bodies_are_job_specs(path):
    schema = {"$ref": "#/components/schemas/JobSpec"}
    CONTRACT.check(schema, json.loads(path.read_text()), path.name)


@pytest.mark.parametrize("path", sorted((SOURCE / "configs" / "models").glob("*.json")),
                         ids=lambda p: p.name)
def test_committed_model_configs_validate(path):
    schema = {"$ref": "#/components/schemas/ModelConfig"}
    CONTRACT.check(schema, json.loads(path.read_text()), path.name)


@pytest.mark.parametrize("body", [
    {"kind": "train"},
    {"kind": "bake", "name": "x"},
    {"kind": "dryrun", "name": "x"},
    {"kind": "tokenizer", "name": "x", "data": {}, "budget": {"max_steps": 1}},
    {"kind": "train", "name": "../x", "model": {}, "data": {}, "budget": {"max_steps": 1}},
])
def test_schema_refuses_wrong_jobs(body):
    with pytest.raises(ContractViolation):
        CONTRACT.check({"$ref": "#/components/schemas/JobSpec"}, body, "job")


@pytest.mark.parametrize("change", [
    {"temperature": 3}, {"n": 0}, {"prompt": []}, {"prompt": [-1]}, {"logprobs": 21},
    {"stop": 7}, {"seed": "x"}, {"max_tokens": -1},
])
def test_schema_refuses_wrong_completions(change):
    body = {"model": "m", "prompt": "x"} | change
    with pytest.raises(ContractViolation):
        CONTRACT.check({"$ref": "#/components/schemas/CompletionRequest"}, body, "request")
