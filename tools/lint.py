#!/usr/bin/env python3
"""Checks the rules of CONTRIBUTING.md that a program can check.

  tools/lint.py            lints this repository: one line a finding, status 1 when there are any
  tools/lint.py --rules    names the rules

Rules are functions marked with @rule: they take the Tree and yield Findings. tests/lint seeds a
violation of each. Reads files only; the two rules on built objects pass when nothing is built.
"""

import bisect
import functools
import pathlib
import re
import subprocess
import sys
from typing import NamedTuple

MAX_COLUMNS = 100
MAX_FUNCTION = 70
MAX_HEADER = 300
MAX_SOURCE = 700

# Which folder may include which. A file belongs to the longest entry that its path starts with.
TRAIN_EDGES = ["train/job", "train/trace", "train/teacher"]
SERVER_PARTS = ["server/http", "server/access", "server/jinja", "server/chat", "server/models",
                "server/ops", "server/openai", "server/compat", "server/jobs", "server/traces"]
ANYTHING = ["base", "model", "model/engine", "train", "train/convert", "train/plugin",
            *TRAIN_EDGES, "server",
            *SERVER_PARTS, "client", "tests", "bench"]
LAYERS = {
    "base": ["base"],
    "model": ["base", "model"],
    "model/engine": ["base", "model", "model/engine"],
    "train/job": ["base", "model", "train/job"],
    "train/trace": ["base", "model", "train/job", "train/trace"],
    "train/teacher": ["base", "model", *TRAIN_EDGES],
    "train/convert": ["base", "model", "train/convert"],
    "train/plugin": ["base", "model", "train"],
    "train": ["base", "model", "model/engine", "train", "train/convert", *TRAIN_EDGES],
    "server/http": ["base", "server/http"],
    "server/access": ["base", "train/job", "server/http", "server/access"],
    "server/jinja": ["base", "server/jinja"],
    "server/chat": ["base", "model", "server/jinja", "server/chat"],
    "server/models": ["base", "model", "model/engine", "server/http", "server/jinja",
                      "server/chat", "server/models"],
    "server/ops": ["base", "model", "model/engine", "server/http", "server/jinja", "server/chat",
                   "server/models", "server/ops"],
    "server/openai": ["base", "model", "model/engine", "server/http", "server/access",
                      "server/jinja", "server/chat", "server/models", "server/ops",
                      "server/openai", "train/trace"],
    "server/compat": ["base", "model", "model/engine", "server/http", "server/access",
                      "server/jinja", "server/chat", "server/models", "server/ops",
                      "server/openai", "server/compat"],
    "server/jobs": ["base", "model", *TRAIN_EDGES, "server/http", "server/jobs"],
    "server/traces": ["base", "model", *TRAIN_EDGES, "server/http", "server/traces"],
    "server": ["base", "model", "model/engine", *TRAIN_EDGES, "server", *SERVER_PARTS],
    "client": ["base", "client"],
    "tests": ANYTHING,
    "bench": ANYTHING,
}

# Which library may be included where: a pattern of the include, and of the paths that may.
LIBRARIES = [
    ("torch", r"(torch|ATen|c10|caffe2)/",
     r"train/(?!job/|trace/|teacher/|convert/|plugin/)|tests/train/|bench/"),
    ("spdlog", r"spdlog/", r"base/log\.cpp$"),
    ("JSON", r"nlohmann/", r"train/(job|trace|teacher|convert)/|server/|client/|tests/|bench/"),
    ("intrinsics", r"(\w*intrin|arm_neon|arm_sve)\.h", r"model/kernels/"),
    ("cpp-httplib", r"httplib\.h", r"server/http/|tests/"),
    ("SQLite", r"sqlite3\.h", r"server/jobs/|tests/"),
    ("libcurl", r"curl/", r"client/|train/teacher/|tests/"),
    ("libedit", r"histedit\.h", r"client/"),
    ("CLI11", r"CLI/", r"client/|tests/client/|bench/"),
    ("prometheus-cpp", r"prometheus/", r"server/ops/"),
    ("SentencePiece", r"sentencepiece", r"model/tokenizer/|train/data/sentencepiece_train\.cpp$"),
    ("OpenSSL", r"openssl/", r"base/|server/http/|tests/"),
    ("zlib", r"zlib\.h", r"server/http/|tests/"),
    ("std::regex", r"regex$", r"(?!)"),
    ("iostream", r"iostream$", r"tests/|bench/|\w+/main\.cpp$"),
]

# Where an exception may be caught, and why there: work ends, or a throwing library becomes values.
CATCH_SITES = {
    "client/api.cpp": "libcurl is C: what the reader throws goes on once that has returned",
    "client/chat.cpp": "a turn ends: its failure is told, the conversation goes on",
    "client/commands.cpp": "the command ends: its failure becomes an exit code",
    "client/completion.cpp": "shell completion without a daemon completes nothing",
    "client/jobs.cpp": "JSON that a person wrote: the parser's error becomes a Failure",
    "client/top.cpp": "the daemon is away or lacks a route: the next reading tries again",
    "client/traces.cpp": "one file of several failed; the others are still sent",
    "client/watch.cpp": "the daemon is away: the watch tries again",
    "model/engine/engine.cpp": "a step ends: its sequences fail, the engine lives",
    "model/threads.cpp": "a share of parallel work ends: rethrown on the caller's thread",
    "server/http/listener.cpp": "a request ends: status 500 with its id",
    "server/http/thread_pool.cpp": "the machine allows no more threads: the request is refused",
    "server/jinja/template.cpp": "a parse or a rendering ends: its failure becomes a Result",
    "server/jobs/database.cpp": "a constructor that failed closes what it opened, rethrows",
    "server/jobs/routes.cpp": "the database's exception becomes an HTTP error",
    "server/jobs/store.cpp": "the database's exception becomes a Result",
    "server/jobs/supervisor.cpp": "a step of the supervisor ends: logged, the thread lives",
    "server/main.cpp": "the program ends",
    "server/models/registry.cpp": "a model that the machine cannot hold is refused",
    "train/distributed/rank_group.cpp": "what c10d throws becomes RankLost, with who was lost",
    "train/worker.cpp": "the job ends: the exception becomes its result event",
}

# "define" is for these alone: CHECK, and what a third party's header demands.
MACRO_FILES = {"base/check.h"}

ISA_SOURCES = {"avx2.cpp", "avxvnni.cpp", "avx512.cpp", "avx512vbmi.cpp", "neon.cpp",
               "neoni8mm.cpp"}
CODE = (".cpp", ".h", ".cu", ".cuh")
WIDE_TEXT = CODE + (".py", ".sh", ".mjs", ".cmake", "CMakeLists.txt")
BANNED_NAMES = {"util", "utils", "common", "helper", "helpers", "misc", "manager", "managers"}
# Written in parts, because this file is linted too.
MARKERS = ["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]
PACKAGE_HOSTS = ["py" + "pi.org", "registry." + "npmjs.org", "files." + "pythonhosted.org",
                 "deb." + "debian.org"]


class Finding(NamedTuple):
    path: str
    line: int
    rule: str
    message: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


class Source:
    """One text file. `code` is its text with comments and literals blanked, line for line."""

    _literals = re.compile(
        r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<![\w])\'(?:\\.|[^\'\\\n])+\'',
        re.DOTALL)

    def __init__(self, root, path):
        self.path = path
        self.text = (root / path).read_text(encoding="utf-8", errors="replace")
        self.lines = self.text.splitlines()

    @functools.cached_property
    def code(self):
        def blank(match):
            found = match.group()
            gap = "\n" * found.count("\n")
            return gap if found.startswith("/") else '""' + gap
        return self._literals.sub(blank, self.text)

    @functools.cached_property
    def _starts(self):
        return [0] + [m.end() for m in re.finditer("\n", self.code)]

    def line_of(self, offset):
        """The line of an offset in code."""
        return bisect.bisect_right(self._starts, offset)

    @functools.cached_property
    def includes(self):
        """(line, "<" or '"', path) of each include."""
        pattern = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)')
        found = ((i, pattern.match(line)) for i, line in enumerate(self.lines, 1) if "#" in line)
        return [(i, m.group(1), m.group(2)) for i, m in found if m]


class Tree:
    """The text files of a folder: those that git tracks or would, all of them without git."""

    _binary = (".gguf", ".png", ".gz", ".zst", ".npz", ".npy", ".bin", ".ico", ".model", ".shard")

    def __init__(self, root):
        self.root = pathlib.Path(root)
        names = [name for name in self._names() if not name.endswith(self._binary)]
        self.sources = [Source(self.root, name) for name in sorted(names)
                        if (self.root / name).is_file()]
        self.code = [s for s in self.sources if s.path.endswith(CODE)]

    def _names(self):
        if (self.root / ".git").exists():
            listed = subprocess.run(
                ["git", "-c", "safe.directory=*", "ls-files", "-coz", "--exclude-standard"],
                cwd=self.root, capture_output=True, text=True, check=True)
            return [name for name in listed.stdout.split("\0") if name]
        return [str(p.relative_to(self.root)) for p in self.root.rglob("*")
                if p.is_file() and p.relative_to(self.root).parts[0] not in ("build", "data")]


RULES = {}


def rule(function):
    RULES[function.__name__.replace("_", "-")] = function
    return function


def layer_of(path):
    found = [layer for layer in LAYERS if path.startswith(layer + "/")]
    return max(found, key=len, default=None)


@rule
def arrows(tree):
    """Includes go along the arrows of ARCHITECTURE.md, and are written from the root."""
    for source in tree.code:
        layer = layer_of(source.path)
        if layer is None:
            yield source.path, 1, "is in no folder that ARCHITECTURE.md knows"
            continue
        for line, bracket, path in source.includes:
            if bracket == "<":
                continue
            target = layer_of(path)
            if target is None or not (tree.root / path).is_file():
                yield source.path, line, f'"{path}" is no file from the root of the repository'
            elif target not in LAYERS[layer]:
                yield source.path, line, f"{layer}/ may not include {target}/"


@rule
def libraries(tree):
    """Each library is known to few folders."""
    patterns = [(name, re.compile(what), re.compile(where)) for name, what, where in LIBRARIES]
    for source in tree.code:
        for line, bracket, path in source.includes:
            for name, what, where in patterns:
                if bracket == "<" and what.match(path) and not where.match(source.path):
                    yield source.path, line, f"{name} may not be included here"


@rule
def columns(tree):
    """At most 100 columns."""
    for source in tree.sources:
        if not source.path.endswith(WIDE_TEXT):
            continue
        for i, line in enumerate(source.lines, 1):
            if len(line) > MAX_COLUMNS:
                yield source.path, i, f"{len(line)} columns; at most {MAX_COLUMNS}"


@rule
def file_length(tree):
    """At most 300 lines a header, 700 a source."""
    for source in tree.code:
        most = MAX_HEADER if source.path.endswith(".h") else MAX_SOURCE
        if len(source.lines) > most:
            yield source.path, most + 1, f"{len(source.lines)} lines; at most {most}"


_SCOPE = re.compile(r'\b(namespace|class|struct|union|enum)\b|\bextern\s*""')
_CONSTRUCTOR_INIT = re.compile(r"\)\s*(noexcept\s*)?:(?!:)[^{}]*[\w>]\s*$")


def functions(source):
    """(first line, last line) of each function body that stands in a namespace or a class."""
    code = re.sub(r"(?m)^[ \t]*#(?:[^\n\\]|\\\n|\\.)*", lambda m: "\n" * m.group().count("\n"),
                  source.code)
    starts = [0] + [m.end() for m in re.finditer("\n", code)]
    line_of = functools.partial(bisect.bisect_right, starts)
    stack = []  # (kind, where its header begins); kinds: scope, function, other, initializer
    begin = 0   # of the statement that is being read
    for match in re.finditer(r"[{};]", code):
        at = match.start()
        in_scope = not stack or stack[-1][0] == "scope"
        if match.group() == "{":
            header = code[begin:at]
            kind = "other"
            if in_scope:
                kind = kind_of(header)
            stack.append((kind, begin))
            if kind != "initializer":
                begin = at + 1
        elif match.group() == "}" and stack:
            kind, start = stack.pop()
            if kind == "function":
                first = start + len(code[start:at]) - len(code[start:at].lstrip())
                yield line_of(first), line_of(at)
            if kind == "initializer":
                begin = start
            else:
                begin = at + 1
        elif in_scope:
            begin = at + 1


def kind_of(header):
    if _CONSTRUCTOR_INIT.search(header):
        return "initializer"
    before_parameters = header.split("(")[0]
    if _SCOPE.search(re.sub(r"template\s*<[^(){}]*>", "", before_parameters)) and (
            "(" not in header or header.rstrip().endswith("final") or "alignas" in header):
        return "scope"
    if "(" in header or "[" in header or header.strip() in ("", ","):
        return "function"
    return "other"


@rule
def function_length(tree):
    """At most 70 lines a function; the kernels are free."""
    for source in tree.code:
        if source.path.startswith("model/kernels/") or len(source.lines) <= MAX_FUNCTION:
            continue
        for first, last in functions(source):
            if last - first + 1 > MAX_FUNCTION:
                yield source.path, first, f"a function of {last - first + 1} lines; at most " \
                                          f"{MAX_FUNCTION}"


@rule
def names(tree):
    """No drawers: utils, common, helpers, misc, manager name no idea."""
    declared = re.compile(r"\b(?:class|struct|namespace)\s+([\w:]+)")
    for source in tree.sources:
        parts = pathlib.PurePath(source.path).parts
        if source.path.endswith(CODE + (".py",)):
            for word in re.split(r"[/_.\-]", source.path.lower()):
                if word in BANNED_NAMES:
                    yield source.path, 1, f'"{word}" names no idea'
        elif BANNED_NAMES.intersection(parts[:-1]):
            yield source.path, 1, f"a folder of {'/'.join(parts[:-1])} names no idea"
    for source in tree.code:
        for match in declared.finditer(source.code):
            words = re.findall(r"[A-Z]?[a-z0-9]+", match.group(1))
            if BANNED_NAMES.intersection(word.lower() for word in words):
                line = source.line_of(match.start())
                yield source.path, line, f'"{match.group(1)}" names no idea'


@rule
def open_tasks(tree):
    """Open tasks belong elsewhere than in the files."""
    marker = re.compile(r"\b(" + "|".join(MARKERS) + r")\b")
    for source in tree.sources:
        if not marker.search(source.text):
            continue
        for i, line in enumerate(source.lines, 1):
            if found := marker.search(line):
                yield source.path, i, f"an open task ({found.group()})"


@rule
def package_hosts(tree):
    """Package indexes are reached through their clients, never by the names of their hosts."""
    for source in tree.sources:
        for host in PACKAGE_HOSTS:
            if host in source.text:
                line = source.text[:source.text.index(host)].count("\n") + 1
                yield source.path, line, f"names {host}"


@rule
def catch_sites(tree):
    """Exceptions are caught where work ends, in the files of CATCH_SITES."""
    for source in tree.code:
        if source.path.startswith(("tests/", "bench/")):
            continue
        sites = [source.line_of(m.start()) for m in re.finditer(r"\bcatch\s*\(", source.code)]
        if source.path not in CATCH_SITES:
            for line in sites:
                yield source.path, line, "catches an exception; see CATCH_SITES in tools/lint.py"
        elif not sites:
            yield source.path, 1, "catches nothing any more: take it out of CATCH_SITES"


@rule
def headers(tree):
    """A header opens with what it is for, and is included once."""
    for source in tree.code:
        if not source.path.endswith(".h"):
            continue
        if not source.text.startswith("//"):
            yield source.path, 1, "does not open with a comment on what it is for"
        if "#pragma once" not in source.text:
            yield source.path, 1, "has no #pragma once"


@rule
def macros(tree):
    """No macros but CHECK."""
    for source in tree.code:
        if source.path in MACRO_FILES or source.path.startswith("tests/"):
            continue
        for match in re.finditer(r"(?m)^[ \t]*#[ \t]*define[ \t]+(\w+)", source.code):
            yield source.path, source.line_of(match.start()), f"defines the macro {match.group(1)}"


@rule
def regexes_and_sleeps(tree):
    """No std::regex anywhere; no test waits by sleeping."""
    for source in tree.code:
        for match in re.finditer(r"\bstd::(basic_)?regex\b", source.code):
            yield source.path, source.line_of(match.start()), "uses std::regex"
        if source.path.startswith("tests/") and source.path.endswith("_test.cpp"):
            for match in re.finditer(r"\b(sleep_for|sleep_until|usleep|nanosleep)\b", source.code):
                yield source.path, source.line_of(match.start()), "sleeps; wait for the fact itself"


@rule
def isa_objects(tree):
    """Objects compiled for one instruction set export no weak symbol: the linker could give it to
    code that runs on every CPU."""
    for build in sorted(tree.root.glob("build/*/build.ninja")):
        if build.parent.name != "release":
            continue
        for item in sorted(build.parent.rglob("kernels/*.o")):
            if item.name.removesuffix(".o") not in ISA_SOURCES:
                continue
            listed = subprocess.run(["nm", "--defined-only", "-C", str(item)], capture_output=True,
                                    text=True, check=True).stdout
            for line in listed.splitlines():
                kind, name = line.split(maxsplit=2)[1:]
                if kind in "WVuw":
                    yield str(item.relative_to(tree.root)), 1, f"weak symbol {name}"


@rule
def daemon_without_torch(tree):
    """tristilld and tristill never link libtorch."""
    for name in ("tristilld", "tristill"):
        program = tree.root / "build/release/bin" / name
        if not program.is_file():
            continue
        needed = subprocess.run(["readelf", "-d", str(program)], capture_output=True, text=True,
                                check=True).stdout
        for library in re.findall(r"NEEDED.*\[(?:\S*/)?(lib(?:torch|c10)[^\]]*)\]", needed):
            yield str(program.relative_to(tree.root)), 1, f"links {library}"


def lint(root, rules=None):
    """All findings of the named rules (all of them when None), by rule, path and line."""
    tree = Tree(root)
    found = []
    for name, check in RULES.items():
        if rules is None or name in rules:
            found += sorted(Finding(path, line, name, message)
                            for path, line, message in check(tree))
    return found


def main(arguments):
    if arguments == ["--rules"]:
        for name, check in RULES.items():
            print(f"{name:22} {' '.join(check.__doc__.split())}")
        return 0
    if arguments:
        print(__doc__, file=sys.stderr)
        return 64
    found = lint(pathlib.Path(__file__).resolve().parent.parent)
    for finding in found:
        print(finding)
    print(f"lint: {len(RULES)} rules, {len(found)} findings", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
