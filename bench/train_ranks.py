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
import subprocess
import sysconfig
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parent.parent


def job(model, ranks, steps):
    return {
        "id": "ftjob-ranks",
        "spec": {
            "kind": "train", "name": "ranks", "model": model, "batch_tokens": 8192,
            "sequence_length": 512, "micro_batches": 4, "ranks": ranks, "threads": ranks,
            "log_every": 2, "eval_tokens": 0, "tokenizer": {"from_model": "starter"},
            "budget": {"max_steps": steps}, "data": {"corpora": [{"name": "asyncio"}]},
            "checkpoint_seconds": 3600},
        "corpora": [{"source": {"name": "asyncio"},
                     "path": sysconfig.get_path("stdlib") + "/asyncio"}],
        "tokenizer_model": str(SOURCE / "assets/starter.gguf")}


def start(binaries, folder, model, ranks, steps):
    folder.mkdir()
    (folder / "job.json").write_text(json.dumps(job(model, ranks, steps)))
    return subprocess.Popen([binaries / "tristill-worker", folder], stderr=subprocess.DEVNULL)


def finish(process, folder):
    """The median tokens a second without the first, and the model's hash."""
    if process.wait() != 0:
        raise SystemExit((folder / "events.jsonl").read_text().splitlines()[-1])
    events = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    speeds = [event["numbers"]["tokens_per_second"] for event in events
              if "tokens_per_second" in event.get("numbers", {})]
    model = (folder / "student.gguf").read_bytes()
    return statistics.median(speeds[1:]), hashlib.sha256(model).hexdigest()


def one_round(given, model):
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        one, one_hash = finish(start(given.bin, root / "one", model, 1, given.steps), root / "one")
        many, many_hash = finish(start(given.bin, root / "many", model, given.ranks, given.steps),
                                 root / "many")
        apart = [root / f"apart{i}" for i in range(given.ranks)]
        running = [start(given.bin, folder, model, 1, given.steps) for folder in apart]
        cores = sum(finish(process, folder)[0] for process, folder in zip(running, apart))
    return {"one": one, "ranks": many, "ratio": many / one, "cores": cores / one,
            "same_bytes": one_hash == many_hash}


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
