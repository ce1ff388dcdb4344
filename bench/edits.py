#!/usr/bin/env python3
"""Writes code edits as JSON Lines for tristill-edit-replay: {"prompt", "output"}.

    python3 bench/edits.py --count 40 > /tmp/edits.jsonl

Each takes a function of this Python's standard library and asks for one change of it: a variable
renamed, a parameter added, a line of logging put in, a constant changed. The output is the whole
function after the change, as an editor's rewrite command expects it. Same Python, same edits.
"""
import argparse
import ast
import json
import pathlib
import re
import sys
import sysconfig

MODULES = ["argparse", "ast", "calendar", "cmd", "configparser", "csv", "difflib", "fractions",
           "heapq", "inspect", "mailbox", "pickle", "shutil", "statistics", "tarfile", "textwrap"]
LINES = range(12, 45)


def functions():
    """Whole functions of the modules, in order."""
    folder = pathlib.Path(sysconfig.get_paths()["stdlib"])
    for module in MODULES:
        text = (folder / f"{module}.py").read_text()
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef) or node.decorator_list:
                continue
            if node.end_lineno - node.lineno + 1 in LINES:
                yield node, "\n".join(lines[node.lineno - 1:node.end_lineno]) + "\n"


def rename(node, text):
    names = [target.id for part in ast.walk(node) if isinstance(part, ast.Assign)
             for target in part.targets if isinstance(target, ast.Name)]
    if not names:
        return None
    name = max(sorted(set(names)), key=names.count)
    return (f"rename the variable {name} to new_{name}",
            re.sub(rf"\b{name}\b", f"new_{name}", text))


def add_parameter(node, text):
    changed = re.sub(r"\):\n", ", verbose=False):\n", text, count=1)
    return None if changed == text else ("add a parameter verbose that is False", changed)


def add_logging(node, text):
    body = node.body[1] if len(node.body) > 1 else None
    if body is None:
        return None
    lines = text.splitlines(keepends=True)
    at = body.lineno - node.lineno
    indent = re.match(r" *", lines[at])[0]
    lines.insert(at, f"{indent}log.debug(\"{node.name} was called\")\n")
    return "log that the function was called", "".join(lines)


def change_constant(node, text):
    found = re.search(r"\b[1-9]\d*\b", text)
    if not found:
        return None
    return (f"use {int(found[0]) + 1} in place of {found[0]}",
            text[:found.start()] + str(int(found[0]) + 1) + text[found.end():])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=40)
    count = parser.parse_args().count
    kinds = [rename, add_parameter, add_logging, change_constant]
    written = 0
    for node, text in functions():
        edit = kinds[written % len(kinds)](node, text)
        if edit is None:
            continue
        what, after = edit
        print(json.dumps({"prompt": f"{text}\n# The same function, but {what}:\n",
                          "output": after}))
        written += 1
        if written == count:
            return 0
    return f"only {written} edits found"


if __name__ == "__main__":
    sys.exit(main())
