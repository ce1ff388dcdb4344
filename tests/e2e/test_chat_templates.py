"""Chat templates against Jinja itself, in the environment that they are written for: what
tristill-render-template writes is what Jinja writes, byte for byte, and what fails fails.

The templates here have the constructs of those that models come with; the random ones are of
jinja_generator.py. And the daemon's own route, with a setting and without.
"""

import datetime
import json
import subprocess

import pytest

from jinja_generator import VARIABLES, Generator
from programs import BIN, Daemon

jinja2 = pytest.importorskip("jinja2", reason="Jinja is not installed")
jinja2_ext = pytest.importorskip("jinja2.ext")
jinja2_sandbox = pytest.importorskip("jinja2.sandbox")

RANDOM_TEMPLATES = 1500


class Generation(jinja2_ext.Extension):
    """{% generation %}: its body, as transformers renders it."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("render"), [], [], body).set_lineno(line)

    def render(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def environment():
    made = jinja2_sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2_ext.loopcontrols, Generation]
    )
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return made


ENVIRONMENT = environment()


def by_jinja(template, variables):
    try:
        return {"text": ENVIRONMENT.from_string(template).render(**variables)}
    except Exception as failure:  # whatever Python throws at a template's mistake
        return {"error": f"{type(failure).__name__}: {failure}"}


def by_us(cases):
    lines = "".join(
        json.dumps({"template": template, "variables": variables}) + "\n"
        for template, variables in cases
    )
    done = subprocess.run(
        [BIN / "tristill-render-template"],
        input=lines,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def compare(cases):
    """The number of texts; both sides agree on every case."""
    answers = by_us(cases)
    assert len(answers) == len(cases)
    texts = 0
    for (template, variables), ours in zip(cases, answers):
        theirs = by_jinja(template, variables)
        if "text" in theirs and "text" in ours:
            assert ours["text"] == theirs["text"], template
            texts += 1
        else:
            assert ours.keys() == theirs.keys(), f"{template}\nours {ours}\nJinja {theirs}"
    return texts


USER = {"role": "user", "content": " What is <|im_end|> it?\n"}
ASSISTANT = {"role": "assistant", "content": "It. "}
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {
            "id": "c12345678",
            "type": "function",
            "function": {"name": "look", "arguments": {"at": 'é"<', "n": [1, 2.5, None, True]}},
        }
    ],
}
RESULT = {"role": "tool", "content": '{"r": 1}', "name": "look", "tool_call_id": "c12345678"}
THOUGHT = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nyes"}
PARTS = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look",
            "description": 'Look "at" <it>',
            "parameters": {
                "type": "object",
                "required": ["at"],
                "properties": {
                    "at": {"type": "string", "description": "What é"},
                    "n": {"type": "array"},
                },
            },
        },
    }
]

CONVERSATIONS = [
    [USER],
    [SYSTEM, USER],
    [USER, ASSISTANT, USER],
    [SYSTEM, USER, ASSISTANT, USER, ASSISTANT],
    [SYSTEM, USER, CALL, RESULT, ASSISTANT, USER],
    [USER, CALL, RESULT, RESULT],
    [USER, USER],
    [ASSISTANT],
    [],
    [USER, THOUGHT, USER],
    [PARTS],
    [{"role": "developer", "content": "d"}, USER],
]

TEMPLATES = {
    "turns between tokens": """\
{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content']}}
{%- if not loop.last or add_generation_prompt %}{{ '<|im_end|>' + '\n' }}{% endif %}
{% endfor %}
{% if add_generation_prompt and messages[-1]['role'] != 'assistant' -%}
  {{ '<|im_start|>assistant\n' }}
{%- endif %}
""",
    "the system inside the first turn": """\
{%- if messages[0].role == "system" -%}
    {%- set intro = "<<SYS>>\\n" ~ messages[0].content | trim ~ "\\n<</SYS>>\\n\\n" -%}
    {%- set turns = messages[1:] -%}
{%- else -%}
    {%- set intro, turns = "", messages -%}
{%- endif -%}
{%- for turn in turns -%}
    {%- if (turn.role == "user") != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("turns must alternate: " ~ turn.role) }}
    {%- endif -%}
    {%- if turn.role == "user" -%}
        {{ bos_token ~ "[INST] " ~ (intro if loop.first) ~ turn.content.strip() ~ " [/INST]" }}
    {%- elif turn.role == "assistant" -%}
        {{ " " + turn.content | trim + " " + eos_token }}
    {%- endif -%}
{%- endfor -%}
""",
    "a namespace finds the last question": """\
{%- set ns = namespace(last=-1, n=0, seen=false) %}
{%- for message in messages[::-1] %}
  {%- set index = (messages | length - 1) - loop.index0 %}
  {%- if not ns.seen and message.role == "user" and message.content is string
         and not message.content.startswith('<tool>') %}
    {%- set ns.seen = true %}{% set ns.last = index %}
  {%- endif %}
{%- endfor %}
{%- for message in messages %}
  {%- set content = message.content if message.content is string else '' %}
  {%- if '</think>' in content %}
    {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1] %}
    {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
  {%- endif %}
  {%- if loop.index0 > ns.last and thought %}[{{ thought.strip() }}]{% endif %}
  {{- '<|' ~ message.role ~ '|>' ~ content }}
  {%- if loop.nextitem is defined and loop.nextitem.role != message.role %}
{{ eos_token }}
  {%- endif %}
{%- endfor %}
{{- '<think>\\n\\n</think>\\n\\n' if enable_thinking is defined and enable_thinking is false }}
""",
    "tools and their calls": """\
{{- bos_token }}
{%- if tools is not none and tools %}
    {{- "# Tools\\n<tools>" }}
    {%- for tool in tools %}{{ "\\n" }}{{ tool | tojson }}{% endfor %}
    {{- "\\n</tools>\\n" ~ (tools | tojson(indent=4)) }}
{%- endif %}
{%- for message in messages %}
    {%- if message.tool_calls is defined and message.tool_calls %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '<call>{"name": "' ~ tool_call.name ~ '", "arguments": ' }}
            {{- tool_call.arguments if tool_call.arguments is string
                else tool_call.arguments | tojson }}
            {{- '}</call>' }}
            {%- for key, value in tool_call.arguments.items() %}{{ key }}={{ value }};{% endfor %}
        {%- endfor %}
    {%- elif message.role == "tool" %}
        {%- if loop.first or messages[loop.index0 - 1].role != "tool" %}{{ '<results>' }}{% endif %}
        {{- message.content }}
        {%- if loop.last or messages[loop.index0 + 1].role != "tool" %}{{ '</results>' }}{% endif %}
    {%- elif message.content is not string and message.content is iterable %}
        {%- for part in message.content %}{{ part.text | default('?') }}{% endfor %}
    {%- else %}
        {{- message.role | upper ~ ": " ~ message.content }}
    {%- endif %}
{%- endfor %}
""",
    "a macro writes the turns": """\
{%- macro turn(message, close=true) -%}
    <|{{ message.role | title }}|>
{{ message['content'] | replace('\\n', ' ') }}{% if close %}<|end|>{% endif %}

{% endmacro -%}
{%- set roles = {'user': 1, 'assistant': 2, 'system': 0} -%}
{%- for message in messages if message.role in roles and message.content is string -%}
    {{ loop.index ~ '/' ~ loop.length }}{{ turn(message, close=not loop.last) }}
{%- else -%}
    {{ raise_exception('there is nothing to say') }}
{%- endfor -%}
{%- generation %}{{ roles | dictsort | map('first') | join(',') }}{% endgeneration %}
""",
    "selected messages": """\
{%- set systems = messages | selectattr('role', 'equalto', 'system') | list -%}
{%- set others = messages | rejectattr('role', 'in', ['system', 'developer']) | list -%}
{{- systems | map(attribute='content') | map('trim') | join('\\n\\n') }}
{%- set system_message %}{% for s in systems %}{{ s.content }}{% endfor %}{% endset %}
{%- if system_message | length %}{{ system_message | indent(2, first=true) }}{% endif %}
{%- filter trim %}  {% for m in others %}{{ m.role | capitalize }}, {% endfor %}  {% endfilter %}
{%- with first = others | first, last = others[-1:] %}
{{ first.role }}{{ last | length }}
{%- endwith %}
""",
    "a date": "{% if strftime_now is defined %}{{ strftime_now('%Y %b') }}{% endif %}{{ date }}",
}

# What each of them says by itself, of no variables.
PIECES = [
    "{{ 1 // 0 }}",
    "{{ 7 // 2 }}{{ -7 // 2 }}{{ 7 % -3 }}{{ 7.5 % 2 }}{{ 2 ** -1 }}",
    "{{ -7.5 // 2 }}{{ 0 // -2.5 }}{{ -5 % 2.5 }}{{ 5 % -2.5 }}{{ -1 % 0.3 }}{{ 1 // 0.1 }}",
    "{{ 0.1 + 0.2 }}{{ 1e16 }}{{ 1e-5 }}{{ 100000.0 }}{{ 1.5e300 * 2 }}{{ 3.0 }}{{ -0.0 }}",
    "{{ 2.5 | round }}{{ 3.5 | round }}{{ 2.675 | round(2) }}{{ 7 | round }}",
    "{{ 2.1 | round(0, 'ceil') }}{{ 2.19 | round(1, 'floor') }}{{ 1 | round(1, 'x') }}",
    "{{ '12' | int }}{{ '1.9' | int }}{{ 'x' | int(5) }}{{ 'ff' | int(0, 16) }}{{ ' 3 ' | float }}",
    "{{ 'a' < 'b' }}{{ [1, 2] < [1, 3] }}{{ 1 == 1.0 }}{{ true == 1 }}{{ '1' == 1 }}",
    "{{ 'a' < 1 }}",
    "{{ 'a' in 'abc' }}{{ 1 in [1.0] }}{{ 'k' in {'k': 1} }}",
    "{{ 1 in 'a' }}",
    "{{ 1 in 5 }}",
    "{{ [1, 'a', none, true, 1.0, {'b': (1,)}] }}",
    "{{ 'tab\\t\\'q\\' \"d\" \\x7f \\u200b é' }}",
    "{{ ['tab\\t', \"it's\", 'say \"x\"', 'both \\' \"', '\\x01', 'é', '\\\\'] }}",
    "{{ 'ab' 'cd' }}{{ 'a\\\nb' }}{{ '\\q' }}{{ '\\101' }}",
    "{{ {} }}{{ () }}{{ [] }}{{ (1,) }}",
    "{{ {'a': 1, 'a': 2} }}{{ {1: 'x', true: 'y'} }}",
    "{{ {[1]: 2} }}",
    "{{ {'a': {'b': 3}}.a.b }}",
    "{{ {'items': 1}.items is callable }}{{ {'items': 1}['items'] }}{{ {'x': 1}.get('y', 2) }}",
    "{{ missing.a }}",
    "{{ missing[0] }}",
    "{{ missing() }}",
    "{{ missing + 1 }}",
    "{{ -missing }}",
    "{{ missing | length }}{{ missing | list }}{{ missing | join }}{{ missing == missing }}",
    "{{ missing < 1 }}",
    "{{ missing is iterable }}{{ missing is sequence }}{{ missing is callable }}",
    "{{ 'abc'[1] }}{{ 'abc'[-1] }}{{ 'abc'[5] }}|{{ 'é😀x'[1] }}{{ 'abcdef'[::2] }}",
    "{{ 'abc'[::-1] }}{{ 'abc'[1:][0] }}",
    "{{ [1, 2, 3][5:] }}{{ [1, 2, 3][-9:2] }}{{ [1, 2, 3][::-2] }}",
    "{{ [1][::0] }}",
    "{{ 5[0] }}|",
    "{{ 'a,b,,c'.split(',') }}{{ ' a  b '.split() }}{{ 'a b c'.split(' ', 1) }}{{ ''.split(',') }}",
    "{{ 'a b c'.rsplit(' ', 1) }}{{ 'aaa'.rsplit('aa') }}{{ ' a b  c '.rsplit(none, 1) }}",
    "{{ 'x'.split('') }}",
    "{{ 'a\\r\\nb\\n\\nc'.splitlines() }}{{ 'a\\n'.splitlines(true) }}",
    "{{ 'aXbX'.replace('X', '-', 1) }}{{ 'ab'.replace('', '.') }}{{ 'aaa' | replace('aa', 'b') }}",
    "{{ 'hello wORLD it\\'s' | title }}{{ 'hello wORLD it\\'s'.title() }}",
    "{{ 'ÉCOLE é' | capitalize }}{{ 'straße' | lower }}",
    "{{ 'xxabxx'.strip('x') }}{{ 'xxab'.lstrip('x') }}{{ '\\u00a0 a\\u2003'.strip() }}|",
    "{{ 'abc'.find('c') }}{{ 'abc'.find('z') }}{{ 'éabc'.find('b') }}{{ 'aba'.rfind('a') }}",
    "{{ 'abc'.startswith(('x', 'a')) }}{{ 'abc'.endswith('bc') }}{{ 'abc'.startswith('b', 1) }}",
    "{{ 'a-b'.upper().lower().isalpha() }}{{ '12'.isdigit() }}{{ ''.isdigit() }}",
    "{{ ' '.isspace() }}{{ 'a1'.isalnum() }}{{ 'A'.isupper() }}",
    "{{ '-'.join(['a', 'b']) }}",
    "{{ '-'.join([1]) }}",
    "{{ [1, 2] | join('-') }}",
    "{{ '{} {1} {x}'.format(1, 2, x=3) }}",
    "{{ '{} and {}'.format('a', 1.5) }}{{ '{{}}'.format() }}",
    "{{ [3, 1, 2] | sort }}{{ ['b', 'A'] | sort }}{{ [1, 'a'] | sort }}",
    "{{ [1, 2] | sum }}",
    "{{ [[1, 'x'], [2]] | map('first') | list }}{{ [1, none] | select | list }}",
    "{{ 5 | list }}",
    "{{ [{'a': {'b': 1}}] | map(attribute='a.b') | list }}{{ none | selectattr('x') | list }}",
    "{{ ['a', 'B', 'b'] | unique | list }}{{ [1, 1.0, true] | unique | list }}",
    "{{ {'b': 1, 'A': 2} | dictsort }}{{ {'b': 1, 'A': 2} | dictsort(by='value') }}",
    "{{ [1, 2, 3, 4, 5] | batch(2, 0) | list }}{{ [1, 2, 3, 4, 5] | slice(3) | list }}",
    "{{ {'a': 1} | items | list }}{{ {'a': 1} | list }}",
    "{{ 5 | items | list }}",
    "{{ 'x' | attr('y') }}",
    "{{ [{'k': 'b', 'v': 1}, {'k': 'a', 'v': 2}, {'k': 'b', 'v': 3}] | groupby('k') | length }}",
    "{{ 'a\\nb\\n\\nc' | indent }}{{ 'a\\nb' | indent(2, true) }}",
    "{{ 'a\\n\\nb' | indent(1, blank=true) }}{{ 'a\\nb' | indent('> ') }}",
    "{{ '<a href=\"x\">&\\'' | e }}",
    "{{ 'x' | safe }}",
    "{{ [2, 1] | min }}{{ ['a', 'C'] | max }}",
    "{{ {'z': 1, 'a': [1, {}]} | tojson }}{{ 'é\\u2028\\x7f\"\\\\' | tojson }}{{ 1.0 | tojson }}",
    "{{ {'z': 1, 'a': []} | tojson(indent=2, sort_keys=true) }}{{ missing | tojson }}",
    "{{ {'a': 1} | tojson(separators=(',', ':')) }}{{ {1: 2, none: 3, true: 4} | tojson }}",
    "{% for i in 5 %}{% endfor %}",
    "{% for i in none %}{% endfor %}",
    "{% for c in 'é1' %}{{ c }},{% endfor %}",
    "{% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }}{% endfor %}",
    "{% for a, b in [1] %}{% endfor %}",
    "{% for i in [1, 2] %}{% break %}{% else %}else{% endfor %}",
    "{% for i in [] %}{% else %}e{% endfor %}",
    "{% for i in [1, 2, 3] if i > 1 %}{{ loop.index }}{{ loop.length }}{{ loop.last }}{% endfor %}",
    "{% set ns = namespace() %}{% for i in [1, 2] if not ns.x %}{% set ns.x = i %}x{% endfor %}",
    "{% set a = 1 %}{% set a.b = 2 %}",
    "{% set a, b = 1, 2 %}{{ b }}{{ a }}",
    "{% set a, b = [1] %}",
    "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(b=2) }}",
    "{{ range(1, 9, 3) | list }}",
    "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{% endmacro %}{{ m(b=2) }}",
    "{% macro m() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}",
    "{{ range(5, 0, -2) | list | tojson }}",
    "{% if x is defined and x.y %}a{% elif not x %}b{% endif %}",
    "{{ 'a' if x.y is defined }}",
    "{{ 1 if missing else 2 }}{{ (1 if false) is undefined }}{{ not 1 == 2 }}{{ 1 < 2 > 1 }}",
    "{{ 'a' is string is string }}",
    "{{ 3 is odd and 4 is divisibleby(2) }}{{ 3 is not even }}",
    "{{ 'b' is in ['b'] }}{{ 1 is sameas 1 }}{{ none is none }}{{ 1.5 is number }}",
    "{{ true is integer }}{{ true is number }}{{ 1 is boolean }}",
    "{{ 1 is eq 1.0 }}{{ [] is iterable }}{{ {} is sequence }}{{ 5 is iterable }}",
    "{{ 'A' is upper }}{{ 'a1' is lower }}{{ 'upper' is filter }}{{ 'odd' is test }}",
    "{{ x.y.z is defined }}",
    "{{ a b }}",
    "{{ }}",
    "{% if %}x{% endif %}",
    "{% endif %}",
    "{% for %}",
    "{{ 'a",
    "{{ a }",
    "{% raw %}x",
    "{# x",
    "{{ 1 | nosuch }}",
    "{{ 1 is nosuch }}",
    "{% nosuch %}",
    "{% break %}",
    "{{ raise_exception('no') }}",
    "{% set x %}a{% endset %}{{ x }}|",
    "{{ {}.append }}|",
    "{{ [1].append(2) }}",
    "{{ {'a': 1}.update({'b': 2}) }}",
    "{{ ''.__class__ }}",
    "{{ [].__len__() }}",
    "{%- raw -%}  {{ a }} {%- endraw -%} x",
    "a{% raw %}\n b\n  {% endraw %}\nc",
    "  {%+ if true %}a{% endif %}",
    "a  {%- if true %}\n\n b{% endif +%}\nc\n\n",
    "\n\n{{ 1 }}\n\n",
    "{% set x = 1 -%}\n  {#- c -#}  \n y",
    "{{ -1 | abs }}{{ (-1) | abs }}{{ 2 ** 3 ** 2 }}{{ -2 ** 2 }}{{ 1 - 2 - 3 }}{{ 'a' ~ 1 + 2 }}",
    "{{ [1, 2,] }}{{ {'a': 1,} }}{{ (1, 2,) }}{{ m(1,) if m is defined }}",
    "{{ 1, 2 }}{{ 0x1f }}{{ 1_0 }}",
    "{{ loop }}",
    "{{ dict(a=1, b=2) }}{{ dict({'x': 1}, y=2) }}",
    "{{ namespace(a=1).a }}{{ namespace().b }}|",
]


def test_templates_like_those_of_models_write_what_jinja_writes():
    cases = [
        (
            template,
            {
                "messages": conversation,
                "add_generation_prompt": prompt,
                "bos_token": "<s>",
                "eos_token": "</s>",
            }
            | extra,
        )
        for template in TEMPLATES.values()
        for conversation in CONVERSATIONS
        for prompt in (True, False)
        for extra in ({"tools": None}, {"tools": TOOLS}, {"enable_thinking": False})
    ]
    assert compare(cases) > len(cases) * 2 // 3


@pytest.mark.parametrize("template", PIECES)
def test_each_piece_of_the_language_does_what_jinja_does(template):
    compare([(template, {})])


def test_random_templates_write_what_jinja_writes():
    cases = [(Generator(seed).template(), VARIABLES) for seed in range(RANDOM_TEMPLATES)]
    assert compare(cases) > len(cases) // 2


def test_the_daemon_applies_a_chosen_template(model, tmp_path):
    source = TEMPLATES["turns between tokens"]
    (tmp_path / "turns.jinja").write_text(source)
    with Daemon(
        tmp_path / "data", model, args=["--chat-template", tmp_path / "turns.jinja"]
    ) as own:
        answer = own.call("POST", "/apply-template", {"messages": [SYSTEM, USER]})
        assert answer.headers["x-chat-template"] == "turns"
        expected = by_jinja(source, {"messages": [SYSTEM, USER], "add_generation_prompt": True})
        assert answer.json()["prompt"] == expected["text"]


def test_the_daemon_refuses_to_start_with_a_template_that_is_none(model, tmp_path):
    (tmp_path / "broken.jinja").write_text("{% for %}")
    done = subprocess.run(
        [
            BIN / "tristilld",
            "--port",
            "0",
            "--data",
            tmp_path / "data",
            "--model",
            model,
            "--chat-template",
            tmp_path / "broken.jinja",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "chat template: line 1" in done.stdout + done.stderr


def test_tokens_of_a_conversation_are_those_of_its_prompt(daemon):
    body = {"messages": [{"role": "user", "content": "def f():"}]}
    prompt = daemon.post("/apply-template", body)["prompt"]
    assert (
        daemon.post("/tokenize", body)["tokens"]
        == daemon.post("/tokenize", {"content": prompt})["tokens"]
    )
