#!/usr/bin/env python3
"""Scores source files with a served teacher and uploads the result as a trace set.

Each file is sent in pieces as a prompt with echo and log-probabilities, so the daemon answers the
teacher's Top-K at every token; the answers go to POST /traces as JSON Lines. Only the standard
library is used. Files that a train job would hold out (by the hash of their path) are left out.
"""

import argparse
import hashlib
import json
import pathlib
import random
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor


def post(url, body, content_type="application/json"):
    request = urllib.request.Request(url, data=body, headers={"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refused:
        sys.exit(f"{url}: {refused.status} {refused.read().decode(errors='replace')}")


def get(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def is_held_out(path, share):
    """The same rule as train/data/corpus.cpp."""
    first = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big")
    return first * 2.0**-64 < share


def pieces(roots, held_out, piece_bytes, seed):
    """Pieces of whole lines of about piece_bytes, in a random order."""
    found = []
    for root in map(pathlib.Path, roots):
        for file in sorted(root.rglob("*.py")):
            if file.is_symlink() or "__pycache__" in file.parts or file.stat().st_size > 512 << 10:
                continue
            if is_held_out(file.relative_to(root).as_posix(), held_out):
                continue
            try:
                text = file.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
            lines = text.splitlines(keepends=True)
            piece = ""
            for line in lines:
                if len(piece) + len(line) > 2 * piece_bytes:
                    continue  # a table in one line: longer than any context
                piece += line
                if len(piece) >= piece_bytes:
                    found.append(piece)
                    piece = ""
            if len(piece) > 64:
                found.append(piece)
    random.Random(seed).shuffle(found)
    return found


def record_of(choice, model, tokenizer):
    logprobs = choice["logprobs"]
    return {
        "tokenizer": tokenizer,
        "teacher": model,
        "sampling": "corpus",
        "prompt_tokens": len(logprobs["token_ids"]),
        "tokens": logprobs["token_ids"],
        "top_logprobs": [
            None if top is None else [[i, min(p, 0.0)] for i, p in top]
            for top in logprobs["top_token_ids"]
        ],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("roots", nargs="+", help="folders of Python files")
    parser.add_argument("--teacher-server", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--upload-server", help="default: the teacher's")
    parser.add_argument("--name", required=True, help="name of the trace set")
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--top", type=int, default=12)
    parser.add_argument("--piece-bytes", type=int, default=1400)
    parser.add_argument("--held-out", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", help="also write the lines here")
    args = parser.parse_args()

    upload = args.upload_server or args.teacher_server
    tokenizer = get(f"{args.teacher_server}/v1/models/{args.model}")["meta"]["tokenizer"]
    todo = pieces(args.roots, args.held_out, args.piece_bytes, args.seed)
    print(f"{len(todo)} pieces", file=sys.stderr)

    def score(texts):
        body = {"model": args.model, "prompt": texts, "max_tokens": 0, "echo": True,
                "logprobs": args.top, "temperature": 0}
        answer = post(f"{args.teacher_server}/v1/completions", json.dumps(body).encode())
        return [record_of(choice, args.model, tokenizer) for choice in answer["choices"]]

    batches = [todo[i:i + 8] for i in range(0, len(todo), 8)]
    total = 0
    waiting = []
    out = open(args.out, "w", encoding="utf-8") if args.out else None

    def flush():
        if waiting:
            url = f"{upload}/traces?name={args.name}"
            post(url, ("\n".join(waiting) + "\n").encode(), "application/x-ndjson")
            waiting.clear()

    with ThreadPoolExecutor(max_workers=2) as pool:
        for start in range(0, len(batches), 16):
            for records in pool.map(score, batches[start:start + 16]):
                for record in records:
                    line = json.dumps(record, separators=(",", ":"))
                    waiting.append(line)
                    if out:
                        out.write(line + "\n")
                    total += len(record["tokens"])
            flush()
            print(f"{total} tokens", file=sys.stderr)
            if total >= args.tokens:
                break
    flush()
    print(json.dumps(get(f"{upload}/traces/{args.name}"), indent=1))


if __name__ == "__main__":
    main()
