#!/usr/bin/env python3
"""Runs the tests that are built and counts them; the last line is "N passed, N failed",
with ", N skipped" after it where some were.

  tools/run_tests.py [--build build/release] [SUITE[:FILTER] ...]
  tools/run_tests.py --targets [SUITE ...]      what must be built for these suites

Suites: every bin/NAME_test of the build (base, model, train, server, client), lint (the rules of
tools/lint.py, the layout, the tests of lint itself), e2e (tests/e2e/run.sh: the API document,
the client, the real programs) and launch (the same for tests/launch: configs/launch under torchrun,
mpirun and SLURM). Without SUITE all run but launch, which takes minutes. FILTER is a gtest filter,
or a file or node of pytest. Programs run side by side, one a core; e2e and launch come last, each
alone. Reports lie in BUILD/reports.
"""

import argparse
import concurrent.futures
import dataclasses
import functools
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import unittest
import xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import lint  # noqa: E402

PROGRAM_SECONDS = 900
# As tristill-worker sets it for itself: threads that wait do not spin, and big tensors are not
# given back to the system each time. What a program computes does not depend on it.
PROGRAM_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "MALLOC_MMAP_THRESHOLD_": "4294967296",
                       "MALLOC_TRIM_THRESHOLD_": "17179869184"}
PYTEST_SECONDS = 1500
MAX_RESTARTS = 20
PYTEST_FOLDERS = {"e2e": ["tests/openapi", "tests/client", "tests/e2e"],
                  "launch": ["tests/launch"]}
ON_REQUEST = {"launch"}
PYTEST_TARGETS = {"e2e": ["all"], "launch": ["tristilld", "tristill", "tristill-worker"]}


@dataclasses.dataclass
class Outcome:
    """What one suite did. failures: (test, what was said)."""
    passed: int = 0
    skipped: list = dataclasses.field(default_factory=list)
    failures: list = dataclasses.field(default_factory=list)
    seconds: float = 0

    def add(self, other):
        self.passed += other.passed
        self.skipped += other.skipped
        self.failures += other.failures


def run(command, seconds, environment=None):
    """(exit status or None when it took too long, output); ends the whole process group."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               stdin=subprocess.DEVNULL, cwd=ROOT, start_new_session=True,
                               env=os.environ | (environment or {}))
    try:
        output, _ = process.communicate(timeout=seconds)
        status = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        status = None
    return status, output.decode(errors="replace")


def ending(status, seconds):
    if status is None:
        return f"took more than {seconds} s"
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"exited with status {status}"


def skip_reason(name, output):
    said = re.search(rf"^\[ RUN      \] {re.escape(name)}\n(?:.*\n)*?.*: Skipped\n(.+)\n",
                     output, re.MULTILINE)
    return f": {said[1]}" if said else ""


def gtest_outcome(status, output, report, seconds):
    """(outcome, names of the tests that ended or were running) of one run of a gtest program."""
    outcome = Outcome()
    began = re.findall(r"^\[ RUN      \] (\S+)", output, re.MULTILINE)
    if status in (0, 1) and report.exists():
        for suite in json.loads(report.read_text())["testsuites"]:
            for test in suite["testsuite"]:
                name = f'{test["classname"]}.{test["name"]}'
                if test["status"] == "NOTRUN":
                    continue
                if test["result"] == "SKIPPED":
                    outcome.skipped.append(name + skip_reason(name, output))
                elif test.get("failures"):
                    said = "\n".join(failure["failure"] for failure in test["failures"])
                    outcome.failures.append((name, said))
                else:
                    outcome.passed += 1
        if status == 1 and not outcome.failures:
            outcome.failures.append(("(program)", "exited with status 1\n" + output[-4000:]))
        return outcome, began
    # It ended early: what it said before counts, the test that ran then has failed.
    ended = {name: what.strip() for what, name in
             re.findall(r"^\[ ([A-Z ]{8}) \] (\S+?)(?:,.*)? \(\d+ ms\)$", output, re.MULTILINE)}
    for name in began:
        what = ended.get(name)
        if what == "OK":
            outcome.passed += 1
        elif what == "SKIPPED":
            outcome.skipped.append(name + skip_reason(name, output))
        else:
            said = "failed" if what else "the program " + ending(status, seconds)
            outcome.failures.append((name, said + "\n" + output[-4000:]))
    if not began:
        outcome.failures.append(("(program)", ending(status, seconds) + "\n" + output[-4000:]))
    return outcome, began


def gtest_names(program, wanted):
    status, output = run([program, "--gtest_list_tests", f"--gtest_filter={wanted}"], 60)
    names, suite = [], ""
    for line in output.splitlines() if status == 0 else []:
        line = line.split("#")[0].rstrip()
        if line.startswith("  "):
            names.append(suite + line.strip())
        elif line.endswith("."):
            suite = line
    return names


def run_gtest(program, wanted, reports):
    """A test program; after a crash the tests that had not run yet run in a new process."""
    total = Outcome()
    report = reports / f"{program.name}.json"
    for _ in range(MAX_RESTARTS):
        report.unlink(missing_ok=True)
        status, output = run([program, f"--gtest_filter={wanted}", f"--gtest_output=json:{report}",
                              "--gtest_color=no"], PROGRAM_SECONDS, PROGRAM_ENVIRONMENT)
        outcome, began = gtest_outcome(status, output, report, PROGRAM_SECONDS)
        total.add(outcome)
        if (status in (0, 1) and report.exists()) or not began:
            return total
        rest = [name for name in gtest_names(program, wanted) if name not in began]
        if not rest:
            return total
        wanted = ":".join(rest)
    total.failures += [(name, "did not run: the program kept crashing")
                       for name in wanted.split(":")]
    return total



def layout_findings():
    """What clang-format would change; None without clang-format-19."""
    names = [source.path for source in lint.Tree(ROOT).code]
    try:
        status, output = run(["clang-format-19", "--dry-run", "--Werror", *names], 120)
    except FileNotFoundError:
        return None
    if status == 0:
        return []
    found = re.findall(r"^(\S+?:\d+):\d+: error", output, re.MULTILINE)
    return sorted(set(found)) or [output]


def run_lint(wanted, reports):
    outcome = Outcome()
    found = lint.lint(ROOT)
    for name in lint.RULES:
        if findings := [str(finding) for finding in found if finding.rule == name]:
            outcome.failures.append((name, "\n".join(findings)))
        else:
            outcome.passed += 1
    layout = layout_findings()
    if layout is None:
        outcome.skipped.append("layout (no clang-format-19)")
    elif layout:
        outcome.failures.append(("layout", "./dev format would change\n" + "\n".join(layout)))
    else:
        outcome.passed += 1
    result = unittest.TestResult()
    unittest.TestLoader().discover(str(ROOT / "tests/lint")).run(result)
    bad = [(str(test), trace) for test, trace in result.failures + result.errors]
    outcome.failures += bad
    outcome.skipped += [str(test) for test, _ in result.skipped]
    outcome.passed += result.testsRun - len(result.skipped) - len({name for name, _ in bad})
    return outcome



def run_pytest(name, wanted, reports, build):
    report = reports / f"{name}.xml"
    report.unlink(missing_ok=True)
    tests = [wanted] if wanted != "*" else PYTEST_FOLDERS[name]
    status, output = run(["tests/e2e/run.sh", f"--junitxml={report}", *tests], PYTEST_SECONDS,
                         {"TRISTILL_BIN": str(build / "bin")})
    outcome = Outcome()
    if report.exists():
        for case in xml.parse(report).iter("testcase"):
            name = f'{case.get("classname")}.{case.get("name")}'
            bad = case.find("failure") if case.find("failure") is not None else case.find("error")
            if bad is not None:
                outcome.failures.append((name, bad.text or bad.get("message", "")))
            elif (skip := case.find("skipped")) is not None:
                outcome.skipped.append(f'{name}: {skip.get("message", "")}')
            else:
                outcome.passed += 1
    if status != 0 and not outcome.failures:
        outcome.failures.append(("(run)", ending(status, PYTEST_SECONDS) + "\n" + output[-8000:]))
    return outcome



def suites_of(build):
    """Name -> function(filter, reports) of every suite that can run now."""
    suites = {}
    for program in sorted((build / "bin").glob("*_test")):
        def one(wanted, reports, program=program):
            return run_gtest(program, wanted, reports)
        suites[program.name.removesuffix("_test")] = one
    suites["lint"] = run_lint
    for name in PYTEST_FOLDERS:
        suites[name] = functools.partial(run_pytest, name, build=build)
    return suites


def timed(suite, wanted, reports):
    began = time.monotonic()
    try:
        outcome = suite(wanted, reports)
    except (OSError, subprocess.SubprocessError, ValueError, xml.ParseError) as failure:
        outcome = Outcome(failures=[("(run)", repr(failure))])
    outcome.seconds = time.monotonic() - began
    return outcome


def show(name, outcome):
    print(f"{name:10} {outcome.passed:4} passed, {len(outcome.failures)} failed, "
          f"{len(outcome.skipped)} skipped  ({outcome.seconds:.1f} s)")
    for test, said in outcome.failures:
        print(f"  FAILED {name}: {test}\n    " + said.strip().replace("\n", "\n    "))
    for test in outcome.skipped:
        print(f"  skipped {name}: {test}")
    sys.stdout.flush()


def run_all(chosen, suites, reports):
    """Runs {suite: filter} and prints each as it ends."""
    total = Outcome()
    workers = len(os.sched_getaffinity(0))
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        running = {pool.submit(timed, suites[name], wanted, reports): name
                   for name, wanted in chosen.items() if name not in PYTEST_FOLDERS}
        for done in concurrent.futures.as_completed(running):
            show(running[done], done.result())
            total.add(done.result())
    for name in PYTEST_FOLDERS:
        if name in chosen:
            outcome = timed(suites[name], chosen[name], reports)
            show(name, outcome)
            total.add(outcome)
    return total


def print_targets(selected):
    names = [item.partition(":")[0] for item in selected] or ["e2e"]
    targets = [target for name in names if name != "lint"
               for target in PYTEST_TARGETS.get(name, [f"{name}_test"])]
    print("all" if "all" in targets else " ".join(targets))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--targets", action="store_true")
    parser.add_argument("suites", nargs="*")
    options = parser.parse_args()
    if options.targets:
        return print_targets(options.suites)
    build = options.build.resolve()
    suites = suites_of(build)
    chosen = {name: "*" for name in suites if name not in ON_REQUEST}
    if options.suites:
        chosen = {name: wanted or "*" for name, _, wanted in
                  (item.partition(":") for item in options.suites)}
    if unknown := sorted(set(chosen) - set(suites)):
        print(f"no suite {', '.join(unknown)}; there are {', '.join(suites)}", file=sys.stderr)
        return 64
    reports = build / "reports"
    reports.mkdir(parents=True, exist_ok=True)
    total = run_all(chosen, suites, reports)
    line = f"{total.passed} passed, {len(total.failures)} failed"
    print(line + (f", {len(total.skipped)} skipped" if total.skipped else ""))
    return 1 if total.failures or total.passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
