#!/usr/bin/env python3
"""Collapse of ternary training: the recipe that collapsed, and a sweep over ours that must not.

  bench/train_collapse.py [--bin build/release/bin] [--folder build/train-collapse] [--steps 400]
      [--precisions bf16,fp32] [--out NAME.json]
  bench/train_collapse.py --out NAME.json --report > NAME.md

First configs/jobs/optimizer-distillix-collapse.json, Distillix's recipe from the weights at which
its checkpoints stood: as the file has it, where the detector ends the run; and with health.action
warn, to show that the run was dead indeed. From ordinary first weights the same recipe is
shown beside it. Then our default recipe over both learning rates times 1/4 to 4 and weight decay 0
and 0.1. Status 1 when the detector comes later than step 200 or a run of the sweep is paused.
Finished runs are in --out and are not run again.
"""

import argparse
import json
import pathlib
import sys

from training import ledger
from training.jobs import SOURCE, ENDED, Plan, TOKENIZER_JOB, Workplace, merged, python_stdlib

RECIPE = SOURCE / "configs/jobs/optimizer-distillix-collapse.json"
DETECTED_WITHIN = 200  # steps
SILENT = 1e-4  # a branch over the residual, as the alarm silent_branch has it
LR, ADAMW_LR = 0.02, 3e-3  # the defaults of train/job/optimizer_spec.h
FACTORS = {"1/4": 0.25, "1/2": 0.5, "1": 1, "2": 2, "4": 4}
DECAYS = (0, 0.1)


def recipe_plans(given):
    """The recipe that collapsed, three times, on the shared tokenizer."""
    recipe = merged(json.loads(RECIPE.read_text()), {
        "tokenizer": {"vocab_size": None, "from_job": TOKENIZER_JOB}, "threads": 1,
        "eval_tokens": given.eval_tokens, "budget": {"max_steps": given.steps}})
    warned = {"health": {"action": "warn", "patience_steps": None}}
    return [Plan("distillix", recipe), Plan("distillix, not stopped", merged(recipe, warned)),
            Plan("distillix, ordinary first weights",
                 merged(recipe, warned | {"init_scale": None}))]


def sweep_name(precision, factor, decay):
    return f"{precision}, learning rate x {factor}, decay {decay}"


def sweep_plans(given):
    """Our defaults and SubLN, in the shape and on the batches of the recipe that collapsed."""
    recipe = json.loads(RECIPE.read_text())
    plans = []
    for precision in given.precisions:
        for factor, times in FACTORS.items():
            for decay in DECAYS:
                spec = merged(recipe, {
                    "name": "sweep", "tokenizer": {"vocab_size": None, "from_job": TOKENIZER_JOB},
                    "model": {"sub_norm": True}, "init_scale": None, "precision": precision,
                    "threads": 1, "budget": {"max_steps": given.steps},
                    "eval_tokens": given.eval_tokens})
                spec["optimizer"] = {"lr": LR * times, "adamw_lr": ADAMW_LR * times,
                                     "weight_decay": decay}
                plans.append(Plan(sweep_name(precision, factor, decay), spec))
    return plans


def folder_name(name):
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in name)


def run_plans(given, plans, book):
    place = Workplace(given.bin, given.folder, given.corpus)
    place.tokenizer(json.loads(RECIPE.read_text())["model"]["vocab_size"])
    names = {folder_name(plan.name): plan.name for plan in plans}
    waiting = [Plan(folder_name(plan.name), plan.spec) for plan in plans
               if plan.name not in book.runs]
    for plan, run in place.run_all(waiting, given.at_once):
        print(names[plan.name], run["outcome"], run.get("bits_per_byte", run["message"]),
              run["alarms"], flush=True, file=sys.stderr)
        if run["outcome"] in ENDED:
            book.add(names[plan.name], run)


def first_alarm(run):
    """(code, step) of the first alarm that would end the run, or nothing."""
    lasting = {code: step for code, step in run["alarms"].items() if code != "too_many_flips"}
    return min(lasting.items(), key=lambda item: item[1]) if lasting else None


def verdicts(given, runs):
    """(what is demanded, whether it holds), of the runs there are."""
    out = []
    if "distillix" in runs:
        alarm, paused_at = first_alarm(runs["distillix"]), runs["distillix"].get("paused_at")
        told = f"{alarm[0]} at step {alarm[1]}" if alarm else "no alarm"
        ended = f"ended at step {paused_at}" if paused_at else "not ended"
        out.append((f"the recipe that collapsed is ended before step {DETECTED_WITHIN} ({told}, "
                    f"{ended})", paused_at is not None and paused_at < DETECTED_WITHIN))
    dead = runs.get("distillix, not stopped")
    if dead:
        out.append(("not stopped, it stays dead: at its end a branch is still silent",
                    dead["branch_gain"] < SILENT))
    mine = [plan.name for plan in sweep_plans(given) if plan.name in runs]
    if mine:
        paused = [name for name in mine if runs[name]["outcome"] == "paused"]
        out.append((f"none of {len(mine)} runs of the sweep is paused for its health",
                    not paused))
    return out


def row_of(name, run):
    bits = f"{run['bits_per_byte']:.4f}" if "bits_per_byte" in run else "none"
    alarms = ", ".join(f"{code} at {step}" for code, step in run["alarms"].items()) or "none"
    ended = f"paused at {run['paused_at']}" if run["outcome"] == "paused" else f"{run['step']:.0f}"
    return [name, bits, f"{run['loss']:.3f}", f"{run['zero_fraction']:.3f}",
            f"{run['flip_rate']:.5f}", f"{run['std_min']:.1e}", f"{run['branch_gain']:.1e}",
            alarms, ended]


def print_report(given, content):
    runs = content["runs"]
    print(f"# Collapse, {content['machines'][-1]['date']}\n\n"
          "    bench/train_collapse.py --report\n")
    print(ledger.machine_lines(content))
    print(f"\n{given.steps} steps of 2048 tokens on the standard library; shape and data of "
          "`configs/jobs/optimizer-distillix-collapse.json`. Columns are of the last look: loss in "
          "nats, share of zeros among the ternary weights, flips a step, smallest standard "
          "deviation of a matrix' latents, smallest branch over its residual.")
    head = ["run", "bits per byte", "loss", "zeros", "flips", "std", "branch",
            "alarms: first step", "ended"]
    sections = {"The recipe that collapsed": recipe_plans(given),
                "Our recipe, learning rates and decay": sweep_plans(given)}
    for title, plans in sections.items():
        print(f"\n## {title}\n")
        print(ledger.table(head, [row_of(p.name, runs[p.name]) for p in plans if p.name in runs]))
    print()
    for demanded, held in verdicts(given, runs):
        print(f"- {'Holds' if held else 'DOES NOT HOLD'}: {demanded}.")


def arguments():
    options = argparse.ArgumentParser(description=__doc__,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bin", type=pathlib.Path, default=SOURCE / "build/release/bin")
    options.add_argument("--folder", type=pathlib.Path, default=SOURCE / "build/train-collapse")
    options.add_argument("--out", type=pathlib.Path,
                         default=SOURCE / "build/train-collapse/results.json")
    options.add_argument("--corpus", type=pathlib.Path, help="default: the standard library")
    options.add_argument("--steps", type=int, default=400)
    options.add_argument("--eval-tokens", type=int, default=100000)
    options.add_argument("--precisions", default="bf16,fp32")
    options.add_argument("--at-once", type=int, default=2, help="runs side by side")
    options.add_argument("--report", action="store_true", help="the tables of --out")
    given = options.parse_args()
    given.corpus = given.corpus or python_stdlib()
    given.precisions = given.precisions.split(",")
    return given


def main():
    given = arguments()
    setting = {"steps": given.steps, "eval_tokens": given.eval_tokens, "corpus": str(given.corpus)}
    if given.report:
        content = ledger.read(given.out)
        given.steps = content["setting"]["steps"]
        print_report(given, content)
        return 0
    book = ledger.Ledger(given.out, setting, ledger.machine(given.bin, SOURCE))
    plans = recipe_plans(given) + sweep_plans(given)
    run_plans(given, plans, book)
    left = [plan.name for plan in plans if plan.name not in book.runs]
    for demanded, held in verdicts(given, book.runs):
        print(f"{'holds' if held else 'DOES NOT HOLD'}: {demanded}", file=sys.stderr)
    for name in left:
        print(f"not done: {name}", file=sys.stderr)
    return 1 if left or not all(held for _, held in verdicts(given, book.runs)) else 0


if __name__ == "__main__":
    sys.exit(main())
