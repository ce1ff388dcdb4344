#!/usr/bin/env python3
"""What each training method is worth: bits per byte of held-out text on one small setting.

  bench/train_quality.py [--bin build/release/bin] [--folder build/train-quality]
      [--methods loss,lsq,...] [--seeds 1,2,3] [--steps 300] [--budget-minutes 90] [--out NAME.json]
  bench/train_quality.py --out NAME.json --report > NAME.md

Every run has the same corpus (python-stdlib), tokenizer, model, batch and number of steps; runs of
one seed without a teacher have the same batches too. Those with a teacher take half of their rows
from its traces, so they are to be read beside traces_as_text and drawn_as_text, which learn the
same rows without it. Losses, optimisers and quantisers are listed by --list.

Finished runs are in --out and are not run again; a run that was interrupted goes on. After
--budget-minutes no run is begun: start it again until none is left. The first start makes the
tokenizer, the teacher and its traces. Runs have one thread each; give the machine nothing else to
do.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time

from training import ledger, teacher
from training.jobs import SOURCE, ENDED, Plan, Workplace, merged, python_stdlib, train_spec
from training.methods import (FULL, PLAIN, TEACHER, all_methods, chosen_methods,
                              reference_methods)

GROUPS = {"reference": "References", "loss": "Losses", "teaching": "Teachers that are asked",
          "optimizer": "Optimisers", "quantizer": "Quantisers"}


def base_spec(given):
    return train_spec(
        json.loads(given.model.read_text()), given.steps, batch_tokens=given.batch_tokens,
        sequence_length=given.sequence_length, threads=1, eval_tokens=given.eval_tokens,
        health={"action": "warn"})


def teacher_plan(given):
    """Full precision, wider and deeper than the student, on all cores."""
    base = base_spec(given)
    return Plan(TEACHER, merged(base, {
        "quantized": False, "threads": given.at_once, "seed": 99,
        "model": {"n_layers": 4, "d_model": 256, "d_ff": 768},
        "budget": {"max_steps": given.teacher_steps}}))


def run_name(method, seed):
    return f"{method.name}-{seed}"


def teacher_files(method, seed, base, place):
    """Model files of what teaches a method; the twin is trained when it is not there."""
    [full] = [other for other in reference_methods() if other.name == FULL]
    if FULL in method.teachers:
        place.run(plan_of(full, seed, base, {}, place))
    jobs = {TEACHER: TEACHER, FULL: run_name(full, seed)}
    return tuple(place.folder_of(jobs[name]) / "student.gguf" for name in method.teachers)


def plan_of(method, seed, base, shards, place):
    spec = merged(base, method.changes | {"seed": seed})
    if method.teachers:
        return Plan(run_name(method, seed), spec,
                    teachers=teacher_files(method, seed, base, place))
    if not method.traces:
        return Plan(run_name(method, seed), spec)
    spec = merged(spec, {"data": {"traces": [method.traces]}})
    return Plan(run_name(method, seed), spec, shards[method.traces])


def setting_of(given):
    names = ("steps", "batch_tokens", "sequence_length", "eval_tokens", "teacher_steps",
             "trace_tokens")
    return {name: getattr(given, name) for name in names} | {
        "model": json.loads(given.model.read_text()), "corpus": str(given.corpus)}


def run_methods(given, methods, book):
    place = Workplace(given.bin, given.folder, given.corpus)
    deadline = time.monotonic() + 60 * given.budget_minutes
    missing = [(seed, method) for seed in given.seeds for method in methods
               if run_name(method, seed) not in book.runs]
    if not missing:
        return 0
    base = base_spec(given)
    place.tokenizer(base["model"]["vocab_size"])
    shards = {}
    if any(method.traces or TEACHER in method.teachers for _, method in missing):
        book.content[TEACHER] = place.run(teacher_plan(given))
    if any(method.traces for _, method in missing):
        shards, book.content["traces"] = teacher.collect(place, TEACHER, given.sequence_length,
                                                         given.trace_tokens)
    plans = [plan_of(method, seed, base, shards, place) for seed, method in missing]
    left = len(plans)
    for plan, result in place.run_all(plans, given.at_once, deadline):
        shown = {name: result.get(name) for name in ("outcome", "bits_per_byte", "alarms")}
        print(plan.name, json.dumps(shown), result["message"] if "bits_per_byte" not in result
              else "", flush=True, file=sys.stderr)
        if result["outcome"] in ENDED:
            book.add(plan.name, result)
            place.forget_checkpoints(plan.name)
            left -= 1
    print(f"{left} of {len(plans)} runs are left", file=sys.stderr)
    return left


def spread(values, digits):
    return (f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f} to "
            f"{max(values):.{digits}f})")


def row_of(method, seeds, runs):
    """None when there is no run of it."""
    mine = {seed: runs[run_name(method, seed)] for seed in seeds
            if run_name(method, seed) in runs}
    if not mine:
        return None
    twins = [run["valid_loss"] - runs[f"{FULL}-{seed}"]["valid_loss"]
             for seed, run in mine.items() if f"{FULL}-{seed}" in runs]
    alarms = sorted({f"{code} at {step}" for run in mine.values()
                     for code, step in run["alarms"].items()})
    speeds = [run["tokens_per_second"] for run in mine.values() if run.get("machine", 0) == 0]
    return [method.name, str(len(mine)), spread([r["bits_per_byte"] for r in mine.values()], 4),
            f"{statistics.mean(twins):+.4f}" if twins else "", ", ".join(alarms) or "none",
            f"{statistics.median(speeds):.0f}" if speeds else ""]


def print_report(methods, content):
    setting, runs = content["setting"], content["runs"]
    seeds = sorted({int(name.rsplit("-", 1)[1]) for name in runs})
    print(f"# What each training method is worth, {content['machines'][-1]['date']}\n")
    print("    bench/train_quality.py --report\n")
    print(ledger.machine_lines(content))
    model = setting["model"]
    print(f"""
{model['n_layers']} layers, hidden {model['d_model']}, MLP {model['d_ff']}, vocabulary \
{model['vocab_size']}; {setting['steps']} steps of {setting['batch_tokens']} tokens, sequences of \
{setting['sequence_length']}, one thread a run. Corpus: {setting['corpus']}. Bits per byte are of \
the held-out files (up to {setting['eval_tokens']} tokens): mean and spread over the seeds. \
The gap is the loss in nats a token over the full-precision twin's of the same seed (`{FULL}`). \
Speeds are the first machine's.""")
    if TEACHER in content:
        sets = ", ".join(f"{kind} {tokens} tokens" for kind, (_, tokens)
                         in content.get("traces", {}).items()) or "none"
        print(f"\nTeacher: full precision, 4 layers, hidden 256, {setting['teacher_steps']} steps, "
              f"{content[TEACHER]['bits_per_byte']:.4f} bits per byte. Traces: {sets}.")
    for group, title in GROUPS.items():
        rows = [row_of(method, seeds, runs) for method in methods
                if method.group == group or (group != "reference" and method.name == PLAIN)]
        rows = sorted(filter(None, rows), key=lambda row: float(row[2].split()[0]))
        if rows:
            print(f"\n## {title}\n")
            print(ledger.table(["method", "seeds", "bits per byte (least to most)",
                                "gap, nats", "alarms", "tokens/s"], rows))


def arguments():
    options = argparse.ArgumentParser(description=__doc__,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = {"steps": 300, "batch-tokens": 4096, "sequence-length": 256, "eval-tokens": 300000,
               "teacher-steps": 1500, "trace-tokens": 600000}
    options.add_argument("--bin", type=pathlib.Path, default=SOURCE / "build/release/bin")
    options.add_argument("--folder", type=pathlib.Path, default=SOURCE / "build/train-quality")
    options.add_argument("--out", type=pathlib.Path,
                         default=SOURCE / "build/train-quality/results.json")
    options.add_argument("--corpus", type=pathlib.Path, help="default: the standard library")
    options.add_argument("--model", type=pathlib.Path, default=SOURCE / "configs/models/tiny.json")
    options.add_argument("--methods", default="", help="names or groups, with commas; default all")
    options.add_argument("--seeds", default="1,2,3")
    options.add_argument("--budget-minutes", type=float, default=float("inf"))
    options.add_argument("--at-once", type=int, default=2, help="runs side by side")
    for name, value in numbers.items():
        options.add_argument("--" + name, type=int, default=value)
    options.add_argument("--report", action="store_true", help="the table of --out")
    options.add_argument("--list", action="store_true", help="the methods and what they change")
    given = options.parse_args()
    given.corpus = given.corpus or python_stdlib()
    given.seeds = [int(seed) for seed in given.seeds.split(",")]
    return given


def main():
    given = arguments()
    methods = all_methods(given.steps, given.batch_tokens)
    if given.list:
        for method in methods:
            print(method.group, method.name, json.dumps(method.changes), method.traces)
        return 0
    if given.report:
        print_report(methods, ledger.read(given.out))
        return 0
    book = ledger.Ledger(given.out, setting_of(given), ledger.machine(given.bin, SOURCE))
    names = [name for name in given.methods.split(",") if name]
    return 1 if run_methods(given, chosen_methods(names, methods), book) else 0


if __name__ == "__main__":
    sys.exit(main())
