"""What the documents show is what the programs do: commands of ```console blocks are run.

A command begins with "$ " and goes on while a line ends with a backslash or a quoted text is open;
what follows up to the next command is its output, in which "..." stands for anything, a line of
"..." for any number of lines. http://127.0.0.1:8080 is the daemon of the test. The blocks of a
document run in order in one folder.
"""

import os
import re
import subprocess

import pytest

from openapi_contract import SOURCE
from programs import BIN, clean_environment

ADDRESS = "http://127.0.0.1:8080"


def is_open(command):
    """Whether the next line belongs to the command."""
    return command.endswith("\\") or command.count("'") % 2 == 1


def commands(text, fence="```console"):
    """[line number, command, output lines] of every command in the blocks of one kind."""
    found, block = [], None
    for number, line in enumerate(text.splitlines(), 1):
        inside = block == fence
        if line.startswith("```"):
            block = line if block is None else None
        elif inside and found and is_open(found[-1][1]):
            found[-1][1] += "\n" + line
        elif inside and line.startswith("$ "):
            found.append([number, line[2:], []])
        elif inside and found:
            found[-1][2].append(line)
    return found


def pattern_of(output):
    """What the output must match."""
    parts = []
    for line in output:
        if line.strip() == "...":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append("[^\\n]*?".join(re.escape(part) for part in line.rstrip().split("...")) +
                         r"[ \t]*\n")
    return "".join(parts)


DOCUMENTS = [path for path in sorted((SOURCE / "docs").glob("*.md"))
             if commands(path.read_text())]


def test_the_reader_of_documents_sees_commands_and_wildcards():
    text = "```console\n$ echo 'a\nb' \\\n    c\na\nb c\n$ true\n```\n```\n$ no\n```\n"
    assert commands(text) == [[2, "echo 'a\nb' \\\n    c", ["a", "b c"]], [7, "true", []]]
    assert commands(text, "```") == [[10, "no", []]]
    assert re.fullmatch(pattern_of(["a...c", "...", "d"]), "abbc\n1\n2\nd\n")
    assert not re.fullmatch(pattern_of(["a...c"]), "ab\nc\n")
    assert re.fullmatch(pattern_of([]), "")


def run(command, daemon, folder):
    environment = clean_environment(PATH=f"{BIN}:{os.environ['PATH']}", TRISTILL_SERVER=daemon.url)
    done = subprocess.run(["bash", "-c", command.replace(ADDRESS, daemon.url)], cwd=folder,
                          capture_output=True, text=True, timeout=120, env=environment)
    ended = not done.stdout or done.stdout.endswith("\n")
    return done.stdout if ended else done.stdout + "\n", done.stderr


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_commands_of_a_document_do_what_it_shows(daemon, tmp_path, path):
    for number, command, output in commands(path.read_text()):
        said, errors = run(command, daemon, tmp_path)
        assert re.fullmatch(pattern_of(output), said), (
            f"{path.name}:{number}: $ {command}\nshown:\n" + "\n".join(output) +
            f"\nsaid:\n{said}{errors}")


def test_the_transcript_of_the_readme_is_real(daemon, model, tmp_path):
    """Its answer is laid out for readers: space does not count, and fields may be left out."""
    if model.name != "starter.gguf":
        pytest.skip("the transcript is of assets/starter.gguf")
    shown = [(command, output) for _, command, output in
             commands((SOURCE / "README.md").read_text(), "```") if command.startswith("curl ")]
    assert shown
    for command, output in shown:
        said = "".join(run(command, daemon, tmp_path)[0].split())
        at = 0
        for part in "".join("".join(output).split()).replace("...", ",").split(","):
            assert part in said[at:], f"{part} is not in {said[at:]}"
            at = said.index(part, at) + len(part)
