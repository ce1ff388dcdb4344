#!/usr/bin/env python3
"""Training tokens a second of two ranks against one, one thread each, in turns on this machine.

  bench/train_ranks.py [--bin build/release/bin] [--steps 12] [--rounds 3]
      [--model configs/models/starter.json] [--ranks 2] [--out NAME.json]

Same batch and micro-batches, so the models of a round must be the same bytes, which is checked.
The target is 0.9 of the number of ranks: 1.8 for two. Needs that many cores to itself; what they
give to two independent processes at once is measured beside it (`cores`), as the limit.
"""

import argparse
import hashlib
import json
import pathlib
import statistics
import tempfile

from training.jobs import SOURCE, Workplace, python_stdlib, starter_plan


def plan(name, model, ranks, steps):
    return starter_plan(name, model, budget={"max_steps": steps}, batch_tokens=8192,
                        sequence_length=512, micro_batches=4, ranks=ranks, threads=ranks,
                        log_every=2)


def measured(place, plans):
    """The tokens a second of each of the plans, run side by side, and its model's hash."""
    found = []
    for one, run in place.run_all(plans, len(plans)):
        if run["outcome"] != "succeeded":
            raise SystemExit(f"{one.name} {run['outcome']}: {run['message']}")
        model = (place.folder_of(one.name) / "student.gguf").read_bytes()
        found.append((run["tokens_per_second"], hashlib.sha256(model).hexdigest()))
    return found


def one_round(given, model):
    with tempfile.TemporaryDirectory() as folder:
        place = Workplace(given.bin, folder, python_stdlib() / "asyncio")
        [(one, one_hash)] = measured(place, [plan("one", model, 1, given.steps)])
        [(many, many_hash)] = measured(place, [plan("many", model, given.ranks, given.steps)])
        apart = measured(place, [plan(f"apart{i}", model, 1, given.steps)
                                 for i in range(given.ranks)])
    return {"one": one, "ranks": many, "ratio": many / one,
            "cores": sum(speed for speed, _ in apart) / one, "same_bytes": one_hash == many_hash}


def main():
    options = argparse.ArgumentParser(description=__doc__,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bin", type=pathlib.Path, default=SOURCE / "build/release/bin")
    options.add_argument("--model", type=pathlib.Path,
                         default=SOURCE / "configs/models/starter.json")
    options.add_argument("--steps", type=int, default=12)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--ranks", type=int, default=2)
    options.add_argument("--out", type=pathlib.Path)
    given = options.parse_args()
    model = json.loads(given.model.read_text())
    rounds = []
    for _ in range(given.rounds):
        rounds.append(one_round(given, model))
        print(json.dumps(rounds[-1]), flush=True)
    ratio = statistics.median(entry["ratio"] for entry in rounds)
    cores = statistics.median(entry["cores"] for entry in rounds)
    print(f"{given.ranks} ranks / 1: {ratio:.2f} (two processes that do not talk: {cores:.2f}); "
          f"same bytes: {all(entry['same_bytes'] for entry in rounds)}")
    if given.out:
        given.out.write_text(json.dumps(rounds, indent=1) + "\n")


if __name__ == "__main__":
    main()
