#!/usr/bin/env python3
"""Measures tristill-bench and the peers' llama-bench in turns, in one run.

    bench/peers/compare.py --ours build/release/bin/tristill-bench --models FOLDER \
        [--llama BUILD/bin] [--ik BUILD/bin] [--bitnet BUILD/bin] [--shape 100m ...] \
        [--threads 1,2] [--rounds 7] [--out bench/results/NAME]

FOLDER is make_models.py's. A round runs every program once for prefill 512 and decode 128; the
table has the medians of the rounds, least and most, and the ratio of ours to the fastest peer.
Writes NAME.json and NAME.md, or prints the table without --out.
"""
import argparse
import datetime
import json
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

PREFILL, DECODE = 512, 128
# (peer, quantisation, more arguments)
PEERS = [("llama", "TQ2_0", []), ("llama", "Q4_0", []), ("ik", "IQ2_BN", []),
         ("ik", "IQ2_BN", ["-rtr", "1", "-mqkv", "1"]), ("ik", "IQ2_BN_R4", []),
         ("bitnet", "I2_S", []), ("bitnet", "I2_S", ["-fa", "1"])]
OURS = [("int8 head", ["--head", "int8"]), ("int4 head", ["--head", "int4"])]


def output_of(command):
    # Some leave a log where they run.
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          cwd=tempfile.gettempdir())
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr[-2000:]}")
    return done.stdout + done.stderr


class Contestant:
    def __init__(self, name, command, parse):
        self.name, self.command, self.parse = name, command, parse
        self.runs = {}

    def run(self):
        for figure, value in self.parse(output_of(self.command)).items():
            self.runs.setdefault(figure, []).append(value)

    def median(self, figure):
        return statistics.median(self.runs[figure])


def parse_llama_bench(text):
    speeds = {}
    for run in json.JSONDecoder().raw_decode(text[text.index("["):])[0]:
        speeds["prefill" if run["n_gen"] == 0 else "decode"] = run["avg_ts"]
    return speeds


def parse_ours(text):
    run = json.JSONDecoder().raw_decode(text)[0]["runs"][0]
    return {figure: run[f"{figure}_tokens_per_s"]["median"] for figure in ("prefill", "decode")}


def parse_batched_bench(text):
    """llama.cpp prints JSON lines; the forks a table: |PP|TG|B|N_KV|T_PP|S_PP|T_TG|S_TG|..."""
    rows = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    if rows:
        return {"decode": rows[-1]["speed_tg"]}
    cells = [line.split("|") for line in text.splitlines() if line.startswith("| ")]
    return {"decode": float(cells[-1][8])}


def batch_contestants(args, shape, threads):
    """Many sequences at once: each one's share of the weights' bytes is small."""
    n = args.sequences
    found = []
    for name, extra in OURS:
        command = [args.ours, "-f", "json", "--shape", shape, "-t", threads, "-s", n, "-p", 16,
                   "-n", DECODE, "-r", 3, *extra]
        found.append(Contestant(f"tristill, {name}", command, parse_ours))
    for peer, quant, extra in PEERS:
        folder = getattr(args, peer)
        model = args.models / f"{shape}-{peer}-{quant}.gguf"
        if not folder or not model.exists() or extra:
            continue
        context = n * (DECODE + 16)
        command = [folder / "llama-batched-bench", "-m", model, "-t", threads, "-c", context,
                   "-npp", 1, "-ntg", DECODE, "-npl", n]
        if peer == "llama":
            command += ["--output-format", "jsonl"]
        found.append(Contestant(" ".join([peer, quant]), command, parse_batched_bench))
    return found


def contestants(args, shape, threads):
    if args.sequences > 1:
        return batch_contestants(args, shape, threads)
    found = []
    for name, extra in OURS:
        command = [args.ours, "-f", "json", "--shape", shape, "-t", threads, "-p", PREFILL,
                   "-n", DECODE, "-r", 3, *extra]
        found.append(Contestant(f"tristill, {name}", command, parse_ours))
    for peer, quant, extra in PEERS:
        folder = getattr(args, peer)
        model = args.models / f"{shape}-{peer}-{quant}.gguf"
        if not folder or not model.exists():
            continue
        command = [folder / "llama-bench", "-m", model, "-t", threads, "-p", PREFILL, "-n", DECODE,
                   "-r", 1, "-o", "json", *extra]
        found.append(Contestant(" ".join([peer, quant, *extra]), command, parse_llama_bench))
    return found


def table(args, shape, threads, found):
    ours = [c for c in found if c.name.startswith("tristill")]
    peers = [c for c in found if c not in ours]
    figures = {"decode": DECODE} if args.sequences > 1 else {"prefill": PREFILL, "decode": DECODE}
    best = {figure: max((c.median(figure) for c in peers), default=None) for figure in figures}
    at_once = f", {args.sequences} sequences at once" if args.sequences > 1 else ""
    titles = [f"{figure} {n} (least, most)" for figure, n in figures.items()]
    lines = [f"### {shape}, {threads} thread{'s' if threads > 1 else ''}{at_once}", "",
             f"| | {' | '.join(titles)} | to the fastest peer |",
             "|" + "---|" * (len(titles) + 2)]
    for c in found:
        cells = [f"{c.median(figure):.0f} ({min(c.runs[figure]):.0f}, {max(c.runs[figure]):.0f})"
                 for figure in figures]
        ratio = ""
        if c in ours and peers:
            ratio = ", ".join(f"{figure} {c.median(figure) / best[figure]:.2f}x" for figure in best)
        lines.append(f"| {c.name} | {' | '.join(cells)} | {ratio} |")
    return lines + [""]


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", required=True, type=pathlib.Path)
    parser.add_argument("--models", required=True, type=pathlib.Path)
    for peer in ("llama", "ik", "bitnet"):
        parser.add_argument(f"--{peer}", type=pathlib.Path, metavar="BIN")
    parser.add_argument("--shape", action="append", choices=["100m", "700m", "2b"])
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--sequences", type=int, default=1,
                        help="at once; more than one compares decoding alone")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    for name in ("ours", "models", "llama", "ik", "bitnet"):
        if getattr(args, name):
            setattr(args, name, getattr(args, name).resolve())
    lines, results = [], []
    for shape in args.shape or ["100m", "700m", "2b"]:
        for threads in map(int, args.threads.split(",")):
            found = contestants(args, shape, threads)
            for _ in range(args.rounds):
                for contestant in found:
                    contestant.run()
            lines += table(args, shape, threads, found)
            results += [{"shape": shape, "threads": threads, "name": c.name,
                         "command": [pathlib.Path(str(p)).name for p in c.command],
                         **c.runs} for c in found]
            print("\n".join(table(args, shape, threads, found)), flush=True)
    if args.out:
        head = [f"{datetime.date.today()}, {cpu_name()}, {args.rounds} rounds in turns; tokens a "
                "second, medians", ""]
        args.out.with_suffix(".md").write_text("\n".join(head + lines))
        args.out.with_suffix(".json").write_text(json.dumps(
            {"date": str(datetime.date.today()), "cpu": cpu_name(), "rounds": args.rounds,
             "runs": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
