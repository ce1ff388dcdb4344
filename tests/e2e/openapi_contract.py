"""The HTTP contract as a checker: holds requests and answers against openapi/openapi.yaml.

A Contract is immutable; any test may use it. It knows OpenAPI only as far as our document goes:
path templates, JSON bodies, JSON answers, the data lines of event streams.
"""

import json
import pathlib
import re

import jsonschema
import yaml

SOURCE = pathlib.Path(__file__).resolve().parents[2]
DOCUMENT = SOURCE / "openapi" / "openapi.yaml"
METHODS = ("get", "post", "put", "patch", "delete")


class ContractViolation(AssertionError):
    """What was sent or answered is not what openapi.yaml says."""


class Contract:
    def __init__(self, document):
        self.document = document
        # Longer templates first: /v1/models before /v1/models/{id} does not matter, but a literal
        # segment must win over a parameter.
        self.templates = sorted(document["paths"], key=lambda t: (t.count("{"), -len(t)))

    @classmethod
    def load(cls, path=DOCUMENT):
        return cls(yaml.safe_load(path.read_text()))

    def operations(self):
        """(path template, method in upper case, operation object) of every documented operation."""
        for template, item in self.document["paths"].items():
            for method in METHODS:
                if method in item:
                    yield template, method.upper(), item[method]

    def resolve(self, node):
        """node, or what its local $ref names."""
        while isinstance(node, dict) and set(node) == {"$ref"}:
            target = self.document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part.replace("~1", "/").replace("~0", "~")]
            node = target
        return node

    def validator(self, schema):
        """A jsonschema validator whose $ref see the whole document."""
        rooted = {"components": self.document["components"], "allOf": [schema]}
        return jsonschema.Draft202012Validator(rooted)

    def check(self, schema, value, what):
        errors = sorted(self.validator(schema).iter_errors(value), key=lambda e: list(e.path))
        if errors:
            lines = "\n".join(f"  {describe(error)}" for error in errors[:5])
            raise ContractViolation(f"{what} breaks openapi.yaml:\n{lines}\n  in {clip(value)}")

    def find(self, method, path):
        """The operation for a concrete path, or None."""
        path = path.split("?")[0]
        for template in self.templates:
            operation = self.document["paths"][template].get(method.lower())
            pattern = re.sub(r"\\\{[a-z_]+\\\}", "[^/]+", re.escape(template))
            if operation and re.fullmatch(pattern, path):
                return operation
        return None

    def check_request(self, method, path, body):
        operation = self.find(method, path)
        if operation is None:
            raise ContractViolation(f"{method} {path} is not documented")
        content = self.resolve(operation.get("requestBody", {})).get("content", {})
        if "application/json" in content:
            self.check(content["application/json"]["schema"], body, f"request {method} {path}")

    def check_response(self, method, path, status, content_type, body):
        """body: bytes of a whole answer, also of a finished event stream."""
        what = f"answer {status} of {method} {path}"
        operation = self.find(method, path)
        if operation is None:
            raise ContractViolation(f"{method} {path} is not documented")
        response = self.resolve(operation["responses"].get(str(status)))
        if response is None:
            raise ContractViolation(f"{what} is not documented: {clip(body)}")
        kind = content_type.split(";")[0].strip()
        if kind not in response.get("content", {}):
            raise ContractViolation(f"{what} has content type {content_type!r}, documented: "
                                    f"{sorted(response.get('content', {}))}")
        if kind == "application/json":
            self.check(response["content"][kind]["schema"], json.loads(body), what)
        elif kind == "text/event-stream":
            self.check_stream(response["content"][kind], body.decode(), what)
        elif kind == "application/x-ndjson":
            for line in body.decode().splitlines():
                self.check(response["content"][kind]["x-event"], json.loads(line), what)

    def check_stream(self, media, text, what):
        """x-event is the schema of an event's data; the last is [DONE] unless x-done is false."""
        error = {"$ref": "#/components/schemas/Error"}
        data = [line.removeprefix("data:").strip() for line in text.splitlines()
                if line.startswith("data:")]
        if media.get("x-done", True) and (not data or data.pop() != "[DONE]"):
            raise ContractViolation(f"{what}: the stream does not end with data: [DONE]")
        for item in data:
            value = json.loads(item)
            self.check(error if set(value) == {"error"} else media["x-event"], value, what)


def describe(error):
    """A jsonschema error in one line; of a oneOf, the branch that came nearest."""
    if error.context:
        error = jsonschema.exceptions.best_match([error]) or error
    where = "/".join(str(part) for part in error.absolute_path) or "(whole)"
    return f"{where}: {error.message[:300]}"


def clip(value):
    text = value if isinstance(value, (str, bytes)) else json.dumps(value)
    return repr(text[:600])
