"""Results of a measurement that takes hours: a JSON file to which each finished run is added, so
that a restart goes on where the last one ended, on another machine too. It names the setting that
all its runs share and the machines that made it; a run says which by its number, none is the first.
"""

import collections
import datetime
import json
import os
import pathlib
import platform
import re
import subprocess


def answer(*command):
    """What a program prints, or nothing where there is none of that name."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def machine(binaries, source):
    """Date, machine and versions, as every file in bench/results states them."""
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    system = re.search(r'PRETTY_NAME="(.*)"', pathlib.Path("/etc/os-release").read_text())
    torch = answer("dpkg-query", "-W", "-f", "${Version}", "libtorch1.13")
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu.group(1) if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "system": system.group(1) if system else platform.system(),
        "worker": answer(str(pathlib.Path(binaries) / "tristill-worker"), "--version"),
        "commit": answer("git", "-C", str(source), "rev-parse", "--short", "HEAD"),
        "libtorch": torch or "not Debian's",
        "load_at_start": os.getloadavg()[0],
    }


def machine_line(found):
    return (f"{found['cpu']}, {found['cores']} cores, {found['system']}, libtorch "
            f"{found['libtorch']}, {found['worker']}, commit {found['commit']}; load at the start "
            f"{found['load_at_start']:.1f}.")


def machine_lines(content):
    """Of each machine that made a run, with how many it made."""
    made = collections.Counter(run.get("machine", 0) for run in content["runs"].values())
    lines = [machine_line(found) for found in content["machines"]]
    if len(lines) == 1:
        return lines[0]
    return "\n".join(f"- {made[number]} runs: {line}" for number, line in enumerate(lines))


def is_same_machine(one, other):
    """Whether runs on both may be compared by their times too."""
    changing = ("date", "load_at_start")
    return all(one[name] == other[name] for name in one if name not in changing)


def read(path):
    """The content of a ledger's file."""
    if not pathlib.Path(path).exists():
        raise SystemExit(f"{path} does not exist; give --out as when it was measured")
    return json.loads(pathlib.Path(path).read_text())


class Ledger:
    """Runs by key. Refuses a file whose runs were of another setting."""

    def __init__(self, path, setting, found_machine):
        self.path = pathlib.Path(path)
        self.content = {"setting": setting, "machines": [found_machine], "runs": {}}
        self.machine = 0
        if not self.path.exists():
            return
        before = read(self.path)
        others = [name for name in setting if before["setting"].get(name) != setting[name]]
        if others:
            raise SystemExit(
                f"{self.path} holds runs of another setting ({', '.join(others)}); give the same, "
                "or another --out")
        self.content = before
        machines = before["machines"]
        known = [i for i, one in enumerate(machines) if is_same_machine(one, found_machine)]
        self.machine = known[0] if known else len(machines)
        if not known:
            machines.append(found_machine)

    @property
    def runs(self):
        return self.content["runs"]

    def add(self, key, run):
        self.runs[key] = run | ({"machine": self.machine} if self.machine else {})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".part")
        beside.write_text(json.dumps(self.content, indent=1) + "\n")
        beside.replace(self.path)


def table(head, rows):
    """Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
