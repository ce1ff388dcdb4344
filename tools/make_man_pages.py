#!/usr/bin/env python3
"""Writes the manual pages docs/man/tristill.1 and docs/man/tristilld.1 from what the built programs
say of themselves with --help; a test holds them to it.

  tools/make_man_pages.py [build/release/bin]
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "man"
NAMES = {"tristill": "client of tristilld", "tristilld": "serve and train ternary models"}
SEE_ALSO = {"tristill": "tristilld", "tristilld": "tristill"}


def ask(program, *words):
    """What a program prints; without the user's settings."""
    return subprocess.run([str(program), *words], capture_output=True, text=True, check=True,
                          env={"PATH": "/usr/bin:/bin", "HOME": "/nowhere"}).stdout


def escape(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text.startswith((".", "'")) else text


def section(name):
    return [f".SH {name.upper()}"]


def item(name, description):
    """A flag or a command: words that begin with dashes in bold."""
    words = [re.sub(r"^(.+?)(,?)$", r"\\fB\1\\fR\2", escape(word)) if re.match(r"--?\w", word)
             else escape(word) for word in name.replace(",-", ", -").split(" ")]
    return [".TP", " ".join(words), escape(description)]


def blocks(text):
    """The help as (heading, lines) in order; the first block has no heading."""
    found = [("", [])]
    for line in text.splitlines():
        heading = re.fullmatch(r"([A-Z][A-Za-z ]*):", line)
        if heading:
            found.append((heading[1], []))
        else:
            found[-1][1].append(line)
    return found


def entries(lines):
    """(name, description) of lines in CLI11's two columns. A name that is too long for its column
    stands alone; its description is on the next line."""
    column = 30
    lines = [line for line in lines if line.strip()]
    found = []
    for i, line in enumerate(lines):
        if not line[:column].strip():
            found[-1][1] = line.strip()
        elif i + 1 < len(lines) and not lines[i + 1][:column].strip():
            found.append([line.strip(), ""])
        else:
            found.append([line[:column].strip(), line[column:].strip()])
    return found


def prose(lines):
    """Paragraphs as they are; what is aligned or indented further is shown as it stands."""
    page = []
    for part in "\n".join(lines).strip("\n").split("\n\n"):
        part_lines = [line.removeprefix("  ") for line in part.split("\n")]
        table = any(line.startswith((" ", "{")) or re.match(r"\S+ {2,}|\d+ ", line)
                    for line in part_lines)
        page.append(".PP")
        page += [".nf"] * table + [escape(line) for line in part_lines] + [".fi"] * table
    return page


def commands_of(program, *words):
    """(words of a command, its help) of every command below, depth first."""
    text = ask(program, *words, "--help")
    for heading, lines in blocks(text):
        if heading == "Subcommands":
            for name, _ in entries(lines):
                yield [*words, name], ask(program, *words, name, "--help")
                yield from commands_of(program, *words, name)


def command_section(words, text):
    usage = re.search(r"^Usage: (.*)$", text, re.MULTILINE)[1]
    page = [f".SS {escape(' '.join(['tristill', *words]))}", escape(text.splitlines()[0]) + "."]
    page += [".PP", f"\\fB{escape(usage)}\\fR"]
    for heading, lines in blocks(text):
        if heading in ("Positionals", "Options"):
            for name, description in entries(lines):
                if name != "-h,--help":
                    page += item(name, description)
    return page


def title(program, name):
    version = ask(program, "--version").split()[-1]
    return [".\\\" made from the program's help by tools/make_man_pages.py",
            f".TH {name.upper()} 1 \"\" \"tristill {version}\" \"User Commands\"",
            *section("Name"), f"{name} \\- {NAMES[name]}"]


def client_page(program):
    text = ask(program, "--help")
    page = title(program, "tristill")
    page += section("Synopsis") + ["\\fBtristill\\fR [options] \\fIcommand\\fR [arguments]"]
    page += section("Description") + [escape(text.splitlines()[0])]
    for heading, lines in blocks(text)[1:]:
        if heading == "Subcommands":
            page += section("Commands")
            for words, help_text in commands_of(program):
                page += command_section(words, help_text)
        elif heading == "Options":
            page += section(heading)
            for name, description in entries(lines):
                page += item(name, description)
        else:
            page += section(heading) + prose(lines)
    return page + section("See also") + [f"{SEE_ALSO['tristill']}(1)"]


def daemon_page(program):
    lines = ask(program, "--help").splitlines()
    flags = [i for i, line in enumerate(lines) if line.startswith("  --")]
    page = title(program, "tristilld")
    page += section("Synopsis") + ["\\fBtristilld\\fR [flags]"]
    page += section("Description") + [escape(line) for line in lines[1:flags[0]] if line]
    page += section("Options")
    for line in lines[flags[0]:flags[-1] + 1]:
        name, _, description = line.strip().partition("  ")
        page += item(name, description.strip())
    page += section("Configuration") + prose(lines[flags[-1] + 1:])
    return page + section("See also") + [f"{SEE_ALSO['tristilld']}(1)"]


def pages(programs):
    """File name -> text."""
    made = {"tristill.1": client_page(programs / "tristill"),
            "tristilld.1": daemon_page(programs / "tristilld")}
    return {name: "\n".join(lines) + "\n" for name, lines in made.items()}


def main(arguments):
    programs = pathlib.Path(arguments[0] if arguments else ROOT / "build/release/bin").resolve()
    PAGES.mkdir(exist_ok=True)
    for name, text in pages(programs).items():
        (PAGES / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
