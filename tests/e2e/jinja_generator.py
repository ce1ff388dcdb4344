"""Random small templates in the language of chat templates, from a seed.

What they do is often an error in Jinja, and then it has to be one everywhere. Left out is what
server/jinja/template.h names as different: printing a generator or a range, integers beyond 64
bits, characters whose other case is not one character.
"""

import random

VARIABLES = {
    "messages": [
        {"role": "system", "content": " Be brief. \n"},
        {"role": "user", "content": "What is 2 < 3?\n\n  Say \"yes\" or 'no'.", "name": "Ann"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "a1",
                    "function": {"name": "f", "arguments": {"x": 1, "y": [True, None, 2.5]}},
                }
            ],
        },
        {"role": "tool", "content": "naïve Ünï → 😀\ttab", "tool_call_id": "a1"},
        {"role": "user", "content": "<|im_end|>a-b-c"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "f",
                "parameters": {
                    "type": "object",
                    "properties": {"x": {"type": "integer"}, "b": {"enum": ["p", "q"]}},
                },
            },
        }
    ],
    "bos_token": "<s>",
    "eos_token": "</s>",
    "add_generation_prompt": True,
    "n": 7,
    "f": 2.5,
    "z": 0,
    "s": "Some text, here",
    "e": "",
    "nothing": None,
    "no": False,
    "d": {"k": 1, "items": 2, "Z": "z", "a": [3, 1, 2]},
    "l": ["b", "A", "c", "a"],
    "m": [3, -1, 10],
}

WORDS = ["", " ", "a", "x y", "\\n", "<|im_start|>", "system", "é", "A-b c", "{", "%}", "\\\\", "b"]
TEXT_FILTERS = [
    "trim",
    "upper",
    "lower",
    "capitalize",
    "title",
    "reverse",
    "string",
    "tojson",
    "replace('a', 'bc')",
    "replace('', '-')",
    "indent(2)",
    "indent(2, true)",
    "default('d')",
    "d('', true)",
    "join('-')",
    "sort | join",
    "replace('e', '', 1)",
    "tojson(ensure_ascii=true)",
    "indent(width=3, blank=true)",
    "trim('aeS ')",
]
SAME = ["list", "reverse | list", "select | list"]
FROM_TEXT = ["length", "first", "last", "list", "int", "float", "count", "unique | list"]
LIST_FILTERS = [
    "length",
    "first",
    "last",
    "join(', ')",
    "list",
    "tojson",
    "reverse | list",
    "sort | list",
    "unique | list",
    "map('string') | join('/')",
    "select | list",
    "reject('none') | list",
    "batch(2) | list",
    "slice(2) | list",
    "string",
    "min",
    "max",
    "map('upper') | list",
    "select('string') | list",
    "sort(reverse=true)",
    "tojson(2)",
    "map('default', 'q') | list",
    "join",
    "tojson(indent=2)",
    "sort(case_sensitive=true)",
]
MESSAGE_FILTERS = [
    "map(attribute='role') | list",
    "selectattr('role', 'equalto', 'user') | list",
    "rejectattr('role', 'in', ['user', 'tool']) | map(attribute='content') | list",
    "selectattr('name', 'defined') | list | length",
    "map('length') | list",
    "groupby('role') | length",
    "map(attribute='name', default='?') | join(',')",
    "selectattr('tool_calls') | list | tojson",
    "sort(attribute='role') | tojson",
    "list | length",
]
NUMBER_FILTERS = [
    "string",
    "abs",
    "round",
    "round(1)",
    "int",
    "float",
    "default(3)",
    "tojson",
    "length",
]
DICT_FILTERS = [
    "length",
    "list",
    "items | list",
    "tojson",
    "dictsort",
    "dictsort(true, 'key', true)",
    "string",
    "first",
    "tojson(sort_keys=true)",
    "join(',')",
    "tojson(indent=1)",
]
TESTS = [
    "defined",
    "undefined",
    "none",
    "string",
    "mapping",
    "iterable",
    "sequence",
    "number",
    "boolean",
    "true",
    "false",
    "integer",
    "float",
    "odd",
    "even",
    "lower",
    "upper",
    "divisibleby 3",
    "equalto 'user'",
    "eq(7)",
    "in ['user', 7]",
    "sameas true",
    "ne 1",
    "gt 2",
    "callable",
]
METHODS = [
    "strip()",
    "lstrip()",
    "rstrip('\\n')",
    "strip('aS')",
    "upper()",
    "lower()",
    "title()",
    "capitalize()",
    "replace('e', 'E')",
    "removeprefix('So')",
    "removesuffix('re')",
    "split('\\n')[0]",
    "split('x')[-1]",
    "format(1)",
    "splitlines() | join('|')",
]
FROM_METHODS = [
    "split()",
    "split(' ')",
    "split('e')",
    "split(',', 1)",
    "rsplit(' ', 1)",
    "startswith('S')",
    "endswith('e')",
    "startswith(('S', 'x'))",
    "find('e')",
    "rfind('e')",
    "count('e')",
    "splitlines()",
    "isdigit()",
    "isspace()",
    "isupper()",
    "isalpha()",
    "find('e', 4)",
    "index('e')",
    "splitlines(true)",
    "rsplit(none, 1)",
    "split(none, 1)",
    "isalnum()",
]


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.names = []  # variables that the template itself has set
        self.macros = []
        self.loops = 0  # around what is being made
        self.messages = 0  # of these, those over messages

    def pick(self, *choices):
        return self.random.choice(choices)

    def chance(self, share):
        return self.random.random() < share

    # Expressions. depth is how much may still be nested.

    def string(self):
        quote = self.pick("'", '"')
        return quote + self.random.choice(WORDS) + quote

    def text(self, depth):
        if depth <= 0:
            return self.pick(
                "s", "e", "bos_token", self.string(), self.content(), "messages[1].content"
            )
        return self.random.choice(
            [
                lambda: self.string(),
                lambda: self.pick(
                    "s", "e", "bos_token", "messages[3]['content']", "messages[-1].content"
                ),
                lambda: f"{self.text(depth - 1)} + {self.text(depth - 1)}",
                lambda: f"{self.text(depth - 1)} ~ {self.any(depth - 1)}",
                lambda: f"({self.text(depth - 1)})[{self.slice(self.chance(0.1))}]",
                lambda: f"({self.text(depth - 1)}) | {self.random.choice(TEXT_FILTERS)}",
                lambda: f"({self.text(depth - 1)}).{self.random.choice(METHODS)}",
                lambda: f"({self.text(depth - 1)}) * {self.random.randint(-1, 3)}",
            ]
        )()

    def content(self):
        return "message.content" if self.messages else "eos_token"

    def slice(self, one=False):
        part = lambda: self.pick("", "", "0", "1", "2", "-1", "-2", "5", "-9", "n")
        if one:
            return self.pick("0", "-1", "1", "99")
        return self.pick(
            f"{part()}:{part()}", f"{part()}:{part()}:{self.pick('', '1', '2', '-1', '-2')}"
        )

    def number(self, depth):
        if depth <= 0:
            return self.pick(
                "n", "f", "z", "1", "2", "3.5", "10", "-1", "true", "1e3", "0x1F", "1_0"
            )
        op = self.pick("+", "-", "*", "//", "%", "/", "**")
        return self.random.choice(
            [
                lambda: self.number(0),
                lambda: f"{self.number(depth - 1)} {self.pick('+', '-', '*')} {self.number(0)}",
                lambda: f"{self.number(0)} {op} {self.pick('2', '3', 'n', '-7', '0.5')}",
                lambda: f"({self.number(depth - 1)}) | {self.random.choice(NUMBER_FILTERS)}",
                lambda: f"-({self.number(depth - 1)})",
                lambda: f"{self.list(depth - 1)} | length",
            ]
        )()

    def list(self, depth):
        if depth <= 0:
            return self.pick("l", "m", "messages", "tools", "[]", "[1, 'a', none]", "d.a", "[1, 2]")
        return self.random.choice(
            [
                lambda: self.list(0),
                lambda: "["
                + ", ".join(self.any(depth - 1) for _ in range(self.random.randint(0, 3)))
                + "]",
                lambda: f"({self.list(depth - 1)})[{self.slice()}]",
                lambda: f"({self.list(depth - 1)}) + {self.list(depth - 1)}",
                lambda: f"({self.list(0)}) | {self.pick(*SAME)}",
                lambda: f"messages | {self.random.choice(MESSAGE_FILTERS[:3])}",
                lambda: f"range({self.random.randint(-1, 4)}) | list",
                lambda: f"({self.text(depth - 1)}).split({self.pick('', self.string())})",
            ]
        )()

    def dict(self, depth):
        if depth <= 0:
            return self.pick(
                "d", "messages[1]", "tools[0]", "{}", "{'a': 1, 'b': none}", "dict(q=1)"
            )
        pair = lambda: f"{self.pick(self.string(), '1', 'true', 'none')}: {self.any(depth - 1)}"
        return "{" + ", ".join(pair() for _ in range(self.random.randint(0, 3))) + "}"

    def derived(self, depth):
        """Of any type, made from one that is known."""
        return self.random.choice(
            [
                lambda: f"({self.text(depth - 1)}) | {self.random.choice(FROM_TEXT)}",
                lambda: f"({self.text(depth - 1)}).{self.random.choice(FROM_METHODS)}",
                lambda: f"({self.list(depth - 1)}) | {self.random.choice(LIST_FILTERS)}",
                lambda: f"({self.pick('l', 'm')}) | {self.random.choice(LIST_FILTERS)}",
                lambda: f"({self.list(depth - 1)})[{self.slice(True)}]",
                lambda: f"messages | {self.random.choice(MESSAGE_FILTERS)}",
                lambda: f"({self.dict(depth - 1)}) | {self.random.choice(DICT_FILTERS)}",
                lambda: f"({self.dict(0)}).{self.pick('k', 'items() | list', 'get(1)')}",
                lambda: f"({self.dict(0)})[{self.pick('0', self.string(), 'n')}]",
                lambda: f"({self.dict(0)}).get({self.string()}, {self.any(depth - 1)})",
                lambda: "(" + self.any(depth - 1) + ",)",
            ]
        )()

    def truth(self, depth):
        if depth <= 0:
            return self.pick("true", "no", "add_generation_prompt", "n > 3", "s", "missing", "e")
        relation = self.pick("==", "!=", "<", "<=", ">", ">=")
        return self.random.choice(
            [
                lambda: f"({self.any(depth - 1)}) {self.pick('==', '!=')} ({self.any(depth - 1)})",
                lambda: f"({self.number(depth - 1)}) {relation} ({self.number(depth - 1)})",
                lambda: f"({self.text(depth - 1)}) {relation} ({self.text(depth - 1)})",
                lambda: f"({self.any(depth - 1)}) {self.pick('in', 'not in')} ({self.list(0)})",
                lambda: f"{self.number(0)} < {self.number(0)} {self.pick('<', '==')} n",
                lambda: f"{self.truth(depth - 1)} {self.pick('and', 'or')} {self.truth(depth - 1)}",
                lambda: f"not {self.truth(depth - 1)}",
                lambda: f"({self.any(depth - 1)}) is {self.pick('', 'not ')}{self.pick(*TESTS)}",
                lambda: f"{self.string()} in {self.text(depth - 1)}",
                lambda: f"missing is {self.pick('defined', 'undefined', 'none')}",
            ]
        )()

    def any(self, depth):
        if depth <= 0:
            known = self.names[-4:] + ["nothing", "missing", "add_generation_prompt", "true"]
            if self.loops:
                known += ["loop.index0", "loop.last"]
            if self.messages:
                known += ["message", "message.role", "message['content']"]
            return self.pick(self.text(0), self.number(0), self.list(0), self.random.choice(known))
        return self.random.choice(
            [
                self.text,
                self.text,
                self.number,
                self.list,
                self.dict,
                self.truth,
                lambda d: self.any(0),
                self.derived,
                self.derived,
                lambda d: f"{self.any(d - 1)} if {self.truth(d - 1)} else {self.any(d - 1)}",
                lambda d: f"({self.any(d - 1)} if {self.truth(d - 1)})",
                self.call,
            ]
        )(depth)

    def call(self, depth):
        if not self.macros:
            return self.any(0)
        name, count = self.random.choice(self.macros)
        given = [
            self.any(depth - 1) for _ in range(self.random.randint(0, count + (self.chance(0.05))))
        ]
        if given and self.chance(0.3):
            given[-1] = f"a{len(given) - 1}={given[-1]}"
        return f"{name}({', '.join(given)})"

    # Statements

    def tag(self, inside):
        left = self.pick("", "", "-", "-", "+")
        right = self.pick("", "", "-", "-", "+")
        return "{%" + left + self.pick(" ", "  ", "\n ") + inside + " " + right + "%}"

    def data(self):
        return self.pick(
            "",
            "\n",
            "  ",
            "\n  ",
            " text ",
            "<|im_start|>",
            "a\n\nb",
            "\t\n",
            "\r\n",
            "}}",
            "é",
            "{ ",
            "{# note #}",
            "{#- note -#}\n",
            "\n {#+ x +#}\n",
            "% }",
            "\n\n  ",
        )

    def print(self):
        left, right = self.pick("", "", "-"), self.pick("", "", "-")
        return "{{" + left + " " + self.any(self.random.randint(0, 3)) + " " + right + "}}"

    def new_name(self):
        name = self.pick("v0", "v1", "v2", "v3")
        self.names.append(name)
        return name

    def statement(self, depth):
        kinds = [self.data, self.data, self.print, self.print, self.set]
        if depth > 0:
            kinds += [
                lambda: self.conditional(depth),
                lambda: self.loop(depth),
                lambda: self.loop(depth),
                lambda: self.macro(depth),
                lambda: self.block_set(depth),
                lambda: self.with_block(depth),
                lambda: self.filter_block(depth),
                self.raw,
                lambda: self.namespace(depth),
            ]
        return self.random.choice(kinds)()

    def block(self, depth):
        return "".join(self.statement(depth) for _ in range(self.random.randint(1, 4)))

    def set(self):
        value = self.any(2)
        return self.tag(f"set {self.new_name()} = {value}")

    def block_set(self, depth):
        body = self.block(depth - 1)
        filtered = self.pick("", " | upper", " | trim | length")
        return self.tag(f"set {self.new_name()}{filtered}") + body + self.tag("endset")

    def with_block(self, depth):
        head = self.tag(f"with w = {self.any(1)}, v1 = {self.any(1)}")
        return head + "{{ w }}" + self.block(depth - 1) + self.tag("endwith")

    def filter_block(self, depth):
        head = self.tag(
            f"filter {self.pick('upper', 'trim', 'replace(' + self.string() + ', 3)', 'indent')}"
        )
        return head + self.block(depth - 1) + self.tag("endfilter")

    def raw(self):
        return self.tag("raw") + self.pick("{{ x }}", "  {% y", "\n a \n", "") + self.tag("endraw")

    def conditional(self, depth):
        text = self.tag(f"if {self.truth(2)}") + self.block(depth - 1)
        if self.chance(0.3):
            text += self.tag(f"elif {self.truth(1)}") + self.block(depth - 1)
        if self.chance(0.5):
            text += self.tag("else") + self.block(depth - 1)
        return text + self.tag("endif")

    def loop(self, depth):
        target, items = self.random.choice(
            [
                ("message", "messages"),
                ("message", "messages"),
                ("v0", self.list(2)),
                ("k, v", "d.items()"),
                ("v3", self.derived(1)),
                ("(k, v)", "d | dictsort"),
                ("v1", "range(3)"),
                ("c", "s[:4]"),
                ("k", "d"),
                ("v2", "missing"),
                ("message", "messages[1:]"),
                ("message", "messages[::-1]"),
            ]
        )
        condition = f" if {self.truth(1)}" if self.chance(0.2) else ""
        self.loops += 1
        self.messages += target == "message"
        body = self.block(depth - 1)
        if self.chance(0.4):
            body += self.pick(
                "{{ loop.index }}",
                "{{ loop.first }}",
                "{{ loop.last }}",
                "{{ loop.length }}",
                "{{ loop.cycle('a', 'b') }}",
                "{{ loop.previtem }}",
                "{{ loop.revindex0 }}",
                "{{ loop.nextitem is defined }}",
                "{{ loop.depth }}",
            )
        if self.chance(0.2):
            body += self.tag(f"if {self.truth(1)}") + self.tag(self.pick("break", "continue"))
            body += self.tag("endif") + self.data()
        self.loops -= 1
        self.messages -= target == "message"
        text = self.tag(f"for {target} in {items}{condition}") + body
        if self.chance(0.2):
            text += self.tag("else") + self.block(depth - 1)
        return text + self.tag("endfor")

    def macro(self, depth):
        name = f"m{len(self.macros)}"
        count = self.random.randint(0, 3)
        required = self.random.randint(0, count)
        parameters = [f"a{i}" + (f"={self.any(1)}" if i >= required else "") for i in range(count)]
        outside = self.names, self.macros, self.loops, self.messages
        self.names = self.names + [f"a{i}" for i in range(count)]
        self.macros, self.loops, self.messages = (
            [],
            0,
            0,
        )  # no recursion: how deep it may go differs
        body = self.block(depth - 1)
        self.names, self.macros, self.loops, self.messages = outside
        self.macros = self.macros + [(name, count)]
        return (
            self.tag(f"macro {name}({', '.join(parameters)})")
            + body
            + self.tag("endmacro")
            + "{{ "
            + self.call(2)
            + " }}"
        )

    def namespace(self, depth):
        head = self.tag(f"set ns = namespace(x={self.any(1)}, y=0)")
        body = self.tag(f"set ns.x = {self.any(1)}") + self.tag("set ns.y = ns.y + 1")
        if self.chance(0.6):
            body = self.tag("for i in range(2)") + body + self.tag("endfor")
        return head + body + "{{ ns.x }}/{{ ns.y }}"

    def template(self):
        return "".join(self.statement(3) for _ in range(self.random.randint(1, 5)))
