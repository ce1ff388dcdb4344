#!/usr/bin/env python3
"""Training tokens a second of tristill-worker and of eager PyTorch, in turns on the same machine.

  bench/train_speed.py --python PYTHON-WITH-TORCH [--bin build/release/bin] [--seconds 20]
      [--rounds 3] [--model configs/models/starter.json] [--out NAME.json]

Same architecture, batch, optimiser and number of threads. Ours reads and packs real source code and
writes its events; PyTorch gets random tokens, in bf16 autocast and in fp32: the faster counts.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

from training.jobs import SOURCE, Workplace, python_stdlib, starter_plan

BATCH, LENGTH = 8192, 512


def ours(binaries, model, seconds, threads):
    with tempfile.TemporaryDirectory() as folder:
        place = Workplace(binaries, folder, python_stdlib())
        return place.run(starter_plan(
            "speed", model, budget={"max_seconds": seconds}, batch_tokens=BATCH,
            sequence_length=LENGTH, threads=threads, log_every=5))["tokens_per_second"]


def theirs(python, model_file, seconds, threads, precision):
    done = subprocess.run(
        [python, SOURCE / "bench/peers/train_torch.py", model_file, "--batch-tokens", str(BATCH),
         "--sequence-length", str(LENGTH), "--seconds", str(seconds), "--threads", str(threads),
         "--precision", precision], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    options = argparse.ArgumentParser(description=__doc__,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--python", required=True)
    options.add_argument("--bin", type=pathlib.Path, default=SOURCE / "build/release/bin")
    options.add_argument("--model", type=pathlib.Path,
                         default=SOURCE / "configs/models/starter.json")
    options.add_argument("--seconds", type=float, default=20)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--out", type=pathlib.Path)
    given = options.parse_args()
    model = json.loads(given.model.read_text())
    rounds = []
    for _ in range(given.rounds):
        one = {"tristill": ours(given.bin, model, given.seconds, given.threads)}
        for precision in ("bf16", "fp32"):
            peer = theirs(given.python, given.model, given.seconds, given.threads, precision)
            one["torch_" + precision] = peer["tokens_per_second"]
            one["torch"] = peer["torch"]
        one["ratio"] = one["tristill"] / max(one["torch_bf16"], one["torch_fp32"])
        rounds.append(one)
        print(json.dumps(one), flush=True)
    print(f"tristill / PyTorch: {statistics.median(one['ratio'] for one in rounds):.2f}")
    if given.out:
        given.out.write_text(json.dumps(rounds, indent=1) + "\n")


if __name__ == "__main__":
    main()
