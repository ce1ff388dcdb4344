"""Every range and type that openapi.yaml gives a request field is what the daemon enforces."""

import copy

import pytest

from programs import CONTRACT


def types_of(schema):
    kind = schema.get("type", [])
    return [kind] if isinstance(kind, str) else kind


def wrong_values(schema):
    """Values just outside what the schema of one field accepts."""
    types = types_of(schema)
    if "integer" in types or "number" in types:
        step = 1 if "integer" in types else 0.001
        if "minimum" in schema:
            yield schema["minimum"] - step
        if "maximum" in schema:
            yield schema["maximum"] + max(step, schema["maximum"] * 0.01)
        yield "7"
        yield True
    if "integer" in types:
        yield 1.5
    if "boolean" in types:
        yield "true"
        yield 1
    if types in (["string"], ["string", "null"]):
        yield 7
    if "enum" in schema:
        yield "no-such-choice"
    if types == ["object"]:
        yield []


def fields_of(schema, path=()):
    """(path, schema) of every field below an object schema, references resolved."""
    for name, field in CONTRACT.resolve(schema).get("properties", {}).items():
        field = CONTRACT.resolve(field)
        yield path + (name,), field
        if "properties" in field:
            yield from fields_of(field, path + (name,))


def cases(component):
    schema = {"$ref": f"#/components/schemas/{component}"}
    for path, field in fields_of(schema):
        for value in wrong_values(field):
            yield pytest.param(path, value, id=f"{'.'.join(path)}={value!r}")


@pytest.mark.parametrize("path,value", list(cases("CompletionRequest")))
def test_completion_fields(daemon, path, value):
    body = {"prompt": "x", "max_tokens": 1}
    target = body
    for name in path[:-1]:
        target = target.setdefault(name, {})
    target[path[-1]] = value
    answer = daemon.call("POST", "/v1/completions", body, valid=False)
    assert answer.status == 400, answer.body
    assert answer.error["param"] == ".".join(path)


@pytest.mark.parametrize("path,value", list(cases("TrainSpec")))
def test_train_fields(daemon, tiny_job, path, value):
    body = copy.deepcopy(tiny_job)
    target = body
    for name in path[:-1]:
        target = target.setdefault(name, {})
    target[path[-1]] = value
    answer = daemon.call("POST", "/jobs", body, valid=False)
    assert answer.status == 400, answer.body
    assert answer.error["param"] == ".".join(path)


@pytest.mark.parametrize("path", [(), ("model",), ("tokenizer",), ("data",), ("budget",),
                                  ("optimizer",), ("loss",)])
def test_unknown_train_fields_are_refused_by_name(daemon, tiny_job, path):
    body = copy.deepcopy(tiny_job)
    target = body
    for name in path:
        target = target.setdefault(name, {})
    target["frobnicate"] = 1
    answer = daemon.call("POST", "/jobs", body, valid=False)
    assert answer.status == 400, answer.body
    assert answer.error["param"] == ".".join(path + ("frobnicate",))
