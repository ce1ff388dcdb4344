"""Requests made from openapi.yaml, most of them wrong: for every operation and field wrong types,
values just outside and far outside of the range, wrong encodings, huge sizes, unicode, nesting.

A RequestMaker is immutable; request number i of a seed is always the same, whoever makes it.
"""

import copy
import dataclasses
import json
import random
import urllib.parse

import jsonschema

# Fields that say how much is to be computed: what is valid stays small, or a run takes hours.
COSTLY = {"max_tokens", "max_completion_tokens", "n_predict", "n", "n_cmpl", "best_of",
          "min_tokens", "n_probs", "dimensions"}
COSTLY_MOST = 3
MISSING = object()


class Raw:
    """JSON text as it is: numbers that Python cannot spell, broken escapes."""

    def __init__(self, text):
        self.text = text


@dataclasses.dataclass(frozen=True)
class Request:
    operation: str       # "POST /v1/completions"
    method: str
    path: str
    headers: dict
    body: bytes | None
    refused: bool        # the document forbids it: the answer is some 4xx
    names: tuple         # and its message has one of these names, where there are any
    reads_none: bool     # the operation has no body
    shape: str           # what was done to it

    def __repr__(self):
        body = self.body if self.body is None else self.body[:300]
        return f"{self.shape}: {self.method} {self.path[:200]} {str(self.headers)[:200]} {body!r}"


TEXTS = ["", " ", "\n", "\x00", "\x7f\x1b[31m", "a\u0301", "\u202eabc", "\ufeff", "\ufffd",
         "日本語", "👩‍👩‍👧‍👦", "\U0010ffff", "../../etc/passwd", "%s%n", "'; DROP TABLE jobs;--",
         "<PRE> <SUF> <MID>", "<|endoftext|>", "${x}", "null", "true", "1", "x" * 65, "x" * 300,
         "é" * 3000, "word " * 8000, "\\" * 500, '"' * 500]
NUMBERS = [0, -0.0, 1, -1, 2, 0.5, -0.001, 1.0000001, 1e-320, 1e308, -1e308, 2**31 - 1, 2**31,
           2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -2**63, -2**63 - 1, Raw("1" * 400),
           Raw("1e-999"), Raw("-0"), Raw("0.1e1"), Raw("1" + "0" * 30 + ".0")]
OTHERS = [None, True, False, [], {}, [None], [[]], [{}], {"a": 1}, {"": None}, [1, "a", None, [2]],
          [0] * 3000, ["a"] * 300, {str(i): i for i in range(300)}, {"type": "x"}]
# Not JSON at all: the whole body is refused, whichever field it stood in.
BROKEN = [Raw(text) for text in (
    "NaN", "Infinity", "1e999", "01", "1.", "'a'", "undefined", '"\\x41"', '"\\ud800"',
    '"\\udc00\\ud800"', '"a\nb"', "", "[1,]", '{"a":1,}', '"unended')]
HEADERS = [("X-Request-Id", "a" * 4000), ("X-Request-Id", "a b"), ("X-Request-Id", "é"),
           ("X-Request-Id", ""), ("Accept", "text/event-stream"), ("Accept", "x/y"),
           ("Accept-Encoding", "gzip, br;q=2, \t"), ("Content-Type", "text/plain"),
           ("Content-Type", "application/json; charset=utf-16"), ("Content-Type", "é"),
           ("Content-Encoding", "gzip"), ("Content-Encoding", "br"),
           ("Idempotency-Key", "k" * 300),
           ("Last-Event-ID", "-1"), ("Last-Event-ID", "é" * 100), ("Range", "bytes=0-,0-,0-,-1"),
           ("Authorization", "Bearer"), ("Authorization", "Bearer a%41"), ("Expect", "200-maybe"),
           ("Cookie", "a=" + "b" * 2000), ("Origin", "null"), ("If-None-Match", "*"),
           ("X-Deadline-Ms", "-1"), ("X-Deadline-Ms", "é"),
           ("Last-Event-ID", "ftevent-" + "9" * 40)]


def encode(value):
    """JSON text of a value that may contain Raw parts."""
    parts = []

    def note(raw):
        parts.append(raw.text)
        return f"\x01RAW{len(parts) - 1}\x01"

    text = json.dumps(value, default=note, ensure_ascii=len(repr(value)) % 2 == 0)
    for i, part in enumerate(parts):
        text = text.replace(json.dumps(f"\x01RAW{i}\x01"), part)
    return text.encode("utf-8", "surrogatepass")


def put(body, path, value):
    """body with value at path, containers made on the way; MISSING takes the field out."""
    body = copy.deepcopy(body)
    at = body
    for name, following in zip(path[:-1], path[1:]):
        empty = [] if isinstance(following, int) else {}
        if isinstance(name, int):
            if not isinstance(at, list):
                return None
            while len(at) <= name:
                at.append(copy.deepcopy(empty))
        elif not isinstance(at, dict):
            return None
        elif not isinstance(at.get(name), (dict, list)):
            at[name] = empty
        at = at[name]
    last = path[-1]
    if isinstance(last, int):
        if not isinstance(at, list):
            return None
        at.insert(last, value) if value is not MISSING else None
    elif not isinstance(at, dict):
        return None
    elif value is MISSING:
        at.pop(last, None)
    else:
        at[last] = value
    return body


def without_nulls(value):
    """value without the fields of its objects that are null."""
    if isinstance(value, dict):
        return {key: without_nulls(one) for key, one in value.items() if one is not None}
    return [without_nulls(one) for one in value] if isinstance(value, list) else value


class RequestMaker:
    def __init__(self, contract, seed, bodies, model_names, headers):
        """bodies: operation -> a body to start from, where the document's own example would set
        something going; headers: of every request."""
        self.contract = contract
        self.seed = seed
        self.model_names = model_names
        self.headers = headers
        self.operations = []  # (name, method, template, operation, base, fields, validator)
        for template, method, operation in contract.operations():
            self.add(template, method, operation, bodies)
        self.weights = [2 + len(entry[5]) ** 0.5 for entry in self.operations]

    def add(self, template, method, operation, bodies):
        name = f"{method} {template}"
        content = self.contract.resolve(operation.get("requestBody", {})).get("content", {})
        base, fields, validator = None, [], None
        if "application/json" in content:
            media = content["application/json"]
            base = bodies[name] if name in bodies else self.example(media)
            fields = list(self.fields_of(media["schema"]))
            validator = jsonschema.Draft202012Validator(
                {"components": self.contract.document["components"], "allOf": [media["schema"]]})
            assert validator.is_valid(base), name
        elif content:
            base = self.example(next(iter(content.values())))
        self.operations.append((name, method, template, operation, base, fields, validator))

    def example(self, media):
        """A body of the document that costs little; the least that its schema asks for where the
        document shows none."""
        if "example" in media:
            found = media["example"]
        elif "examples" in media:
            found = next(iter(media["examples"].values()))["value"]
        else:
            found = self.least(media["schema"])
        known = {path[0] for path, _ in self.fields_of(media["schema"]) if len(path) == 1}
        limits = known & {"max_tokens", "max_completion_tokens", "n_predict"}
        return found | dict.fromkeys(limits, 1) if isinstance(found, dict) else found

    def least(self, schema):
        """The smallest value of a schema that is not null."""
        schema = self.contract.resolve(schema)
        if "const" in schema or "enum" in schema:
            return schema.get("const", schema.get("enum", [None])[0])
        for branch in ("oneOf", "anyOf"):
            if branch in schema and "properties" not in schema:
                parts = [self.contract.resolve(part) for part in schema[branch]]
                return self.least(next(part for part in parts if part.get("type") != "null"))
        kinds = schema.get("type", "object")
        kind = kinds if isinstance(kinds, str) else kinds[0]
        if kind == "array":
            return [self.least(schema["items"])] * schema.get("minItems", 0)
        if kind == "object":
            return {name: self.least(schema["properties"][name])
                    for name in schema.get("required", [])}
        return {"string": "x", "boolean": False}.get(kind, schema.get("minimum", 1))

    def fields_of(self, schema, path=(), depth=0):
        """(path, schema) of every field and list element below a schema, all its branches."""
        schema = self.contract.resolve(schema)
        for branch in ("oneOf", "anyOf", "allOf"):
            for part in schema.get(branch, []):
                yield from self.fields_of(part, path, depth)
        for name, field in schema.get("properties", {}).items():
            yield path + (name,), self.contract.resolve(field)
            if depth < 4:
                yield from self.fields_of(field, path + (name,), depth + 1)
        if "items" in schema and path and depth < 4:
            yield path + (0,), self.contract.resolve(schema["items"])
            yield from self.fields_of(schema["items"], path + (0,), depth + 1)

    def value(self, rng, path, schema):
        """Something for one field: near its limits, or of any kind."""
        near = []
        for limit in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            if limit in schema:
                near += [schema[limit], schema[limit] - 1, schema[limit] + 1, schema[limit] + 0.5]
        near += [value for value in schema.get("enum", []) if value is not None]
        if "maxLength" in schema:
            near += ["x" * schema["maxLength"], "x" * (schema["maxLength"] + 1)]
        if "maxItems" in schema and schema["maxItems"] <= 4096:
            near += [[0] * (schema["maxItems"] + 1), ["a"] * schema["maxItems"]]
        if near and rng.random() < 0.3:
            found = rng.choice(near)
        else:
            found = rng.choice(rng.choice([TEXTS, NUMBERS, OTHERS]))
        if path[-1] in COSTLY and isinstance(found, (int, float)) and found > COSTLY_MOST:
            found = COSTLY_MOST if rng.random() < 0.5 else -found
        if path[-1] == "model" and rng.random() < 0.5:
            found = rng.choice(self.model_names)
        return found

    def nested(self, rng):
        depth = rng.choice([3, 60, 200, 5000, 100_000])
        opening, closing = rng.choice([("[", "]"), ('{"a":', "}")])
        return Raw(opening * depth + "1" + closing * depth)

    def is_refused(self, validator, body):
        """Whether the document forbids a body. null means absent, so it is judged as absent."""
        try:
            plain = without_nulls(json.loads(encode(body)))
        except (ValueError, RecursionError):
            return True
        return not isinstance(plain, dict) or not validator.is_valid(plain)

    def make(self, index):
        rng = random.Random(f"{self.seed}:{index}")
        entry = rng.choices(self.operations, self.weights)[0]
        name, method, template, operation, base, fields, validator = entry
        path = self.path(rng, template, operation)
        headers = dict(self.headers)
        if base is not None:
            kind = "application/x-ndjson" if isinstance(base, str) else "application/json"
            headers["Content-Type"] = kind
        body, refused, names, shape = None, False, (), "as documented"
        if isinstance(base, dict):
            body, refused, names, shape = self.json_body(rng, base, fields, validator)
        elif isinstance(base, str):
            body, shape = self.text_body(rng, base)
        elif rng.random() < 0.1:
            body, shape = rng.choice(TEXTS).encode(), "a body where none is read"
        if rng.random() < 0.08:
            header, value = rng.choice(HEADERS)
            headers[header] = value.encode("utf-8")
            shape += f", header {header}"
            names = ()  # the header may be refused first
        return Request(name, method, path, headers, body, refused, names, base is None, shape)

    def json_body(self, rng, base, fields, validator):
        kind = rng.random()
        if kind < 0.62:
            path, schema = rng.choice(fields)
            pool = rng.random()
            if pool < 0.8:
                value = self.value(rng, path, schema)
            elif pool < 0.88:
                value = rng.choice(BROKEN)
            elif pool < 0.94:
                value = self.nested(rng)
            else:
                value = MISSING
            body = put(base, path, value)
            if body is not None:
                names = tuple(name for name in path if isinstance(name, str))
                return (encode(body), self.is_refused(validator, body),
                        () if isinstance(value, Raw) else names,  # a parser knows no fields
                        "field " + ".".join(map(str, path)))
        if kind < 0.8:
            body = base
            for path, schema in rng.sample(fields, min(len(fields), rng.randint(2, 6))):
                body = put(body, path, self.value(rng, path, schema)) or body
            return encode(body), self.is_refused(validator, body), (), "several fields"
        if kind < 0.86:
            body = put(base, (rng.choice(TEXTS) or "x",), rng.choice(OTHERS))
            return encode(body), self.is_refused(validator, body), (), "unknown field"
        return self.damaged(rng, encode(base))

    def damaged(self, rng, text):
        """Bytes that are no JSON, or JSON in another clothing."""
        kind = rng.choice(["cut", "flip", "utf-16", "bom", "latin", "twice", "list", "empty",
                           "spaces", "invalid utf-8", "same key"])
        body = bytearray(text)
        if kind == "cut":
            return bytes(body[:rng.randrange(1, len(body) - 1)]), True, (), kind
        if kind == "flip":
            for _ in range(rng.randint(1, 4)):
                body[rng.randrange(len(body))] = rng.randrange(256)
            return bytes(body), False, (), kind
        shapes = {"utf-16": text.decode().encode("utf-16"), "bom": b"\xef\xbb\xbf" + text,
                  "latin": b'{"prompt": "\xe9"}', "twice": text + text, "list": b"[" + text + b"]",
                  "empty": b"", "spaces": b" \n" * 2000 + text + b"\t" * 500,
                  "invalid utf-8": text.replace(b'"', b'"\xff\xc0\x80', 1),
                  "same key": text[:-1] + b"," + text[1:]}
        return shapes[kind], kind not in ("spaces", "same key", "bom"), (), kind

    def text_body(self, rng, text):
        """A body of lines, as of POST /traces."""
        kind = rng.choice(["as documented", "damaged", "cut", "empty", "no newline"])
        if kind == "damaged":
            return self.damaged(rng, text.encode())[0], kind
        shapes = {"as documented": text, "cut": text[:rng.randrange(len(text))], "empty": "",
                  "no newline": text.rstrip("\n")}
        return shapes[kind].encode(), kind

    def path(self, rng, template, operation):
        """A concrete path with its query; sometimes odd in every part."""
        path = template
        query = []
        for parameter in map(self.contract.resolve, operation.get("parameters", [])):
            schema = self.contract.resolve(parameter["schema"])
            if parameter["in"] == "path":
                known = rng.random() < 0.4
                text = str(parameter.get("example", "x")) if known else rng.choice(TEXTS[4:])[:3000]
                path = path.replace("{%s}" % parameter["name"],
                                    urllib.parse.quote(text, safe="") or "x")
            elif parameter["in"] == "query" and rng.random() < 0.6:
                value = self.value(rng, (parameter["name"],), schema)
                if isinstance(value, Raw) or rng.random() < 0.1:
                    value = rng.choice(["%", "%zz", "%00", "%ff", "a=b", "&", "+", "#"])
                    query.append(parameter["name"] + "=" + value)
                else:
                    query.append(urllib.parse.urlencode({parameter["name"]: value})[:4000])
        if rng.random() < 0.05:
            query.append(rng.choice(["&&&", "=", "x" * 500, "a=%F0%9F", "limit=1&limit=2"]))
        return path + ("?" + "&".join(query) if query else "")
