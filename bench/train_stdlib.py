#!/usr/bin/env python3
"""Five minutes of training on two cores: bits per byte of held-out files of the standard library.

  bench/train_stdlib.py [--bin build/release/bin] [--folder build/train-stdlib] [--seconds 300]
      [--set optimizer.lr=0.03 ...] [--gap] [--out NAME.json]

Trains the recipe below for --seconds and evaluates on all held-out files, against the targets and
against what xz -9e and PPMd (7z, where it is installed) need for the same files. The seconds are
of training alone; reading and tokenising are stated beside them, and the tokenizer is a job of its
own before. --set changes the recipe, to tune it; with ranks=2 micro_batches=2 the seconds hold the
second rank's reading too.

--gap adds what quantisation costs: a full-precision twin on the same number of tokens, and a
ternary student that learns from the twin's traces, a half of its rows: the loss of each over the
twin's in nats a token. The student starts from drawn weights, as the others do.
"""

import argparse
import json
import pathlib
import sys

from training import floors, ledger, teacher
from training.jobs import SOURCE, Plan, Workplace, merged, python_stdlib, train_spec

TARGETS = {"goal": 1.75, "moonshot": 1.60}
GAP_TARGET = 0.10  # nats a token
TRACED_SHARE = 0.5
MODEL = {"n_layers": 4, "d_model": 256, "d_ff": 768, "n_heads": 4, "n_kv_heads": 2,
         "head_dim": 64, "vocab_size": 4096, "max_context": 256}
RECIPE = {"batch_tokens": 4096, "sequence_length": 256, "threads": 2, "eval_tokens": 1 << 29,
          "optimizer": {"warmup": 0.02, "warmdown": 0.5}}


def recipe(given):
    spec = merged(train_spec(MODEL, 0), RECIPE)
    for change in given.set:
        path, _, value = change.partition("=")
        try:
            value = json.loads(value)
        except ValueError:
            raise SystemExit(f"--set {change}: accepted is FIELD=JSON, as "
                             "optimizer.lr=0.03 or optimizer.kind=\"adamw\"") from None
        for name in reversed(path.split(".")):
            value = {name: value}
        spec = merged(spec, value)
    return spec


def within(spec, **budget):
    return merged(spec, {"budget": None}) | {"budget": budget}


def measure_gap(place, spec, plain):
    """The twin and the taught student, of as many steps as the plain run came to."""
    steps = int(plain["step"])
    spec = within(spec, max_steps=steps)
    twin = place.run(Plan("twin", merged(spec, {"quantized": False})))
    tokens = int(TRACED_SHARE * steps * spec["batch_tokens"])
    shards, sets = teacher.collect(place, "twin", spec["sequence_length"], tokens, ("corpus",))
    taught = place.run(Plan("taught", merged(spec, {"data": {"traces": ["corpus"]}}),
                            shards["corpus"]))
    return {"twin": twin, "taught": taught, "trace_tokens": sets["corpus"][1],
            "plain_gap": plain["valid_loss"] - twin["valid_loss"],
            "gap": taught["valid_loss"] - twin["valid_loss"]}


def compared(value, limit):
    return "reached" if value <= limit else f"missed by {value - limit:.3f}"


def print_report(content):
    run, bits = content["run"], content["run"]["bits_per_byte"]
    print(f"# Training on the standard library, {content['machine']['date']}\n")
    print(f"    bench/train_stdlib.py {content['command']}\n")
    print(ledger.machine_line(content["machine"]))
    print(f"\n{run['step']:.0f} steps, {run['tokens'] / 1e6:.2f} M tokens in "
          f"{content['seconds']:g} s of training, {run['tokens_per_second']:.0f} tokens/s. "
          f"Held out: {run['valid_bytes']:.0f} bytes, {run['valid_tokens']:.0f} tokens scored in "
          f"rows of {content['spec']['sequence_length']}, none overlapping. Before the first step: "
          f"{run['prepare_seconds']:.0f} s of reading and tokenising.\n")
    rows = [["**ternary student**", f"**{bits:.3f}**", ""]]
    rows += [[name, f"{limit:.2f}", compared(bits, limit)] for name, limit in TARGETS.items()]
    for name, value in content["floors"].items():
        measured = isinstance(value, float)
        rows.append([name, f"{value:.3f}" if measured else "",
                     compared(bits, value) if measured else value])
    print(ledger.table(["", "bits per byte", "by the student"], rows))
    if "gap" not in content:
        return
    gap = content["gap"]
    runs = [("full-precision twin", gap["twin"], 0.0), ("ternary", run, gap["plain_gap"]),
            ("ternary, taught by the twin", gap["taught"], gap["gap"])]
    print(f"\nThe same {run['step']:.0f} steps; {gap['trace_tokens']} tokens of traces.\n")
    print(ledger.table(["", "bits per byte", "nats a token", "gap, nats"],
                       [[name, f"{of['bits_per_byte']:.3f}", f"{of['valid_loss']:.4f}",
                         f"{over:+.4f}"] for name, of, over in runs]))
    print(f"\nGap of the taught student, target {GAP_TARGET}: "
          f"{compared(gap['gap'], GAP_TARGET)}.")


def arguments():
    options = argparse.ArgumentParser(description=__doc__,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bin", type=pathlib.Path, default=SOURCE / "build/release/bin")
    options.add_argument("--folder", type=pathlib.Path, default=SOURCE / "build/train-stdlib")
    options.add_argument("--corpus", type=pathlib.Path, help="default: the standard library")
    options.add_argument("--seconds", type=float, default=300)
    options.add_argument("--set", action="append", default=[], metavar="FIELD=JSON")
    options.add_argument("--gap", action="store_true")
    options.add_argument("--out", type=pathlib.Path)
    given = options.parse_args()
    given.corpus = given.corpus or python_stdlib()
    return given


def main():
    given = arguments()
    content = {"command": " ".join(sys.argv[1:]), "machine": ledger.machine(given.bin, SOURCE),
               "seconds": given.seconds, "spec": within(recipe(given), max_seconds=given.seconds)}
    place = Workplace(given.bin, given.folder, given.corpus)
    place.tokenizer(content["spec"]["model"]["vocab_size"])
    place.forget("student")  # a measurement anew
    content["run"] = place.run(Plan("student", content["spec"]))
    if content["run"]["step"] < 1:
        raise SystemExit(f"not one step was made in --seconds {given.seconds:g}; give more")
    content["floors"] = floors.floors(place.folder_of("student") / "data-manifest.jsonl",
                                      given.corpus)
    if given.gap:
        content["gap"] = measure_gap(place, content["spec"], content["run"])
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(content, indent=1) + "\n")
    print_report(content)


if __name__ == "__main__":
    main()
