#!/usr/bin/env python3
"""Measures tristilld and llama-server under the same load in turns, in one run.

    bench/peers/serve.py --ours build/release/bin --model FILE --llama BUILD/bin \
        --llama-model FILE [--rounds 7] [--out bench/results/NAME]

Two loads: 32 clients that stream answers to prompts of their own, and the keystroke: one text of
about 1,500 tokens, edited near its end before each request for 24 tokens. Each round runs both
servers once with the same prompts, which no round repeats; both servers live for the whole run and
remember what they want. Writes NAME.json and NAME.md, or prints the table without --out.
"""
import argparse
import datetime
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

LOADS = {
    "32 streams": ["-c", 32, "-n", 96, "-p", 24, "-m", 64],
    "keystroke": ["-c", 1, "-n", 30, "-p", 220, "-m", 24, "--workload", "keystroke"],
}
FIGURES = [("output_tokens_per_s", None, "output tokens/s"),
           ("first_token_ms", "p50", "TTFT p50 ms"), ("first_token_ms", "p99", "TTFT p99 ms"),
           ("next_token_ms", "p50", "next token p50 ms"),
           ("next_token_ms", "p99", "next token p99 ms"),
           ("end_ms", "p50", "end p50 ms"), ("end_ms", "p99", "end p99 ms")]


def start(command, port, log):
    process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log)
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
            return process
        except OSError:
            if process.poll() is not None:
                sys.exit(f"{command[0]} ended at once")
            time.sleep(0.1)
    sys.exit(f"{command[0]} does not answer")


def servers(args, load, folder, log):
    slots, context = (32, 32768) if load == "32 streams" else (1, 4096)
    ours = [args.ours / "tristilld", "--data", folder, "--port", 8191, "--model", args.model,
            "--threads", args.threads, "--max-sequences", 32]
    theirs = [args.llama / "llama-server", "-m", args.llama_model, "-t", args.threads, "-tb",
              args.threads, "-np", slots, "-c", context, "--host", "127.0.0.1", "--port", 8192]
    return {"tristilld": (8191, start(ours, 8191, log)),
            "llama-server": (8192, start(theirs, 8192, log))}


def measure(args, load, port, seed):
    command = [args.ours / "tristill-serve-load", "--json", "--port", port, "--seed", seed,
               *LOADS[load]]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if not done.stdout:
        sys.exit(f"the load failed: {done.stderr}")
    return json.loads(done.stdout)


def value(report, name, part):
    return report[name] if part is None else report[name][part]


def table(load, runs):
    lines = [f"### {load}: {' '.join(map(str, LOADS[load]))}", "",
             "| | " + " | ".join(title for _, _, title in FIGURES) + " | errors |",
             "|" + "---|" * (len(FIGURES) + 2)]
    medians = {}
    for name, reports in runs.items():
        medians[name] = [statistics.median(value(r, n, p) for r in reports) for n, p, _ in FIGURES]
        errors = sum(r["errors"] for r in reports)
        lines.append(f"| {name} | " + " | ".join(f"{m:.1f}" for m in medians[name]) +
                     f" | {errors} |")
    ratios = [a / b if b else float("nan") for a, b in zip(medians["tristilld"],
                                                          medians["llama-server"])]
    lines.append("| ratio | " + " | ".join(f"{r:.2f}x" for r in ratios) + " | |")
    return lines + [""]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", required=True, type=pathlib.Path, metavar="BIN")
    parser.add_argument("--model", required=True, type=pathlib.Path)
    parser.add_argument("--llama", required=True, type=pathlib.Path, metavar="BIN")
    parser.add_argument("--llama-model", required=True, type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    lines, results = [], {}
    for load in LOADS:
        with tempfile.TemporaryDirectory() as folder, open(f"{folder}/log", "w") as log:
            running = servers(args, load, folder, log)
            runs = {name: [] for name in running}
            for seed in range(1, args.rounds + 1):
                for name, (port, _) in running.items():
                    runs[name].append(measure(args, load, port, seed))
            for _, process in running.values():
                process.terminate()
                process.wait()
        results[load] = runs
        lines += table(load, runs)
        print("\n".join(table(load, runs)), flush=True)
    if args.out:
        head = [f"{datetime.date.today()}, {args.rounds} rounds in turns, medians, "
                f"{args.threads} threads, {args.model.name} against {args.llama_model.name}", ""]
        args.out.with_suffix(".md").write_text("\n".join(head + lines))
        args.out.with_suffix(".json").write_text(json.dumps(
            {"date": str(datetime.date.today()), "rounds": args.rounds, "loads": results},
            indent=1) + "\n")


if __name__ == "__main__":
    main()
