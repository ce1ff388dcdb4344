"""A teacher's traces: three sets of them, made once by serving the teacher's model file.

  corpus  training text of the corpus, the teacher's TOP likeliest tokens of each
  t1      text that the teacher wrote at temperature 1 after some tokens of the corpus, likewise
  counts  the same text; a list is what DRAWS random draws from the teacher gave
"""

import collections
import hashlib
import json
import math
import pathlib
import random
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

TOP, DRAWS = 12, 50
PROMPT_TOKENS = 24
PROMPTS_A_REQUEST = 8
PIECE_BYTES = 480
START_SECONDS = 60


class Served:
    """tristilld with one model on a free port of 127.0.0.1; `with` stops it."""

    def __init__(self, binaries, model, data):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.command = [binaries / "tristilld", "--port", str(port), "--data", data, "--model",
                        model, "--log-level", "error"]

    def __enter__(self):
        self.process = subprocess.Popen(self.command)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(self.url + "/readyz", timeout=5).close()
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    raise SystemExit("tristilld did not start; run it by hand to see why: " +
                                     " ".join(map(str, self.command)))
                time.sleep(0.1)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def post(self, path, body, content_type="application/json", accept="application/json"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": content_type, "Accept": accept}
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refused:
            text = refused.read().decode(errors="replace")
            raise SystemExit(f"POST {path}: {refused.code} {text}") from None

    def score(self, prompts, context, **lists):
        """Trace records of texts or lists of ids. lists: what a position's list holds, by default
        its TOP likeliest tokens."""
        answer = self.post("/v1/score", {"prompt": prompts, "truncate_prompt_tokens": context,
                                         **(lists or {"top_logprobs": TOP})})
        kept = ("tokenizer", "teacher", "sampling", "prompt_tokens", "tokens", "top_logprobs")
        return [{name: record[name] for name in kept} for record in answer["data"]]

    def write(self, prompts, tokens, seed):
        """The ids of each prompt and what the model wrote after it at temperature 1."""
        answer = self.post("/v1/completions", {
            "prompt": prompts, "max_tokens": tokens, "temperature": 1, "top_p": 1, "top_k": 0,
            "min_p": 0, "seed": seed, "echo": True, "logprobs": 0})
        choices = sorted(answer["choices"], key=lambda choice: choice["index"])
        return [choice["logprobs"]["token_ids"] for choice in choices]


def training_pieces(manifest, corpus, seed):
    """Pieces of whole lines of the files that a job trained on, by its manifest, in a random
    order."""
    found = []
    for line in map(json.loads, manifest.read_text().splitlines()):
        if line["split"] != "train":
            continue
        piece = ""
        for text in (corpus / line["path"]).read_text(encoding="utf-8").splitlines(keepends=True):
            piece += text
            if len(piece) >= PIECE_BYTES:
                found.append(piece[:2 * PIECE_BYTES])
                piece = ""
        if len(piece) > 64:
            found.append(piece)
    random.Random(seed).shuffle(found)
    return found


def batches(things, pool, work, tokens):
    """work(batch, number), lists of records of the same texts, of batches of things until so many
    tokens have come back."""
    got, cut = 0, [things[i:i + PROMPTS_A_REQUEST]
                   for i in range(0, len(things), PROMPTS_A_REQUEST)]
    for start in range(0, len(cut), 8):
        numbered = range(start, min(start + 8, len(cut)))
        for lists in pool.map(work, [cut[i] for i in numbered], numbered):
            yield lists
            got += sum(len(record["tokens"]) for record in lists[0])
        if got >= tokens:
            return


def make_sets(served, pieces, context, tokens, kinds, pool):
    """Uploads the wanted sets; (records, tokens) of each."""
    made = {kind: [0, 0] for kind in kinds}

    def upload(kind, records):
        lines = "\n".join(json.dumps(r, separators=(",", ":")) for r in records) + "\n"
        served.post(f"/traces?name={kind}", lines.encode(), "application/x-ndjson")
        made[kind][0] += len(records)
        made[kind][1] += sum(len(record["tokens"]) for record in records)

    def written(prompts, number):
        """The same texts with lists of either kind."""
        texts = served.write(prompts, context - PROMPT_TOKENS, number)
        origin = {"sampling": "t1", "prompt_tokens": PROMPT_TOKENS}
        return tuple([record | origin for record in records] for records in (
            served.score(texts, context),
            served.score(texts, context, logprob_draws=DRAWS, seed=number * PROMPTS_A_REQUEST)))

    def read(texts, _):
        return (served.score(texts, context),)

    prompts = []
    for (records,) in batches(pieces, pool, read, tokens):
        upload("corpus", records)
        prompts += [r["tokens"][:PROMPT_TOKENS] for r in records
                    if len(r["tokens"]) > PROMPT_TOKENS]
    if "t1" in kinds:
        for likeliest, draws in batches(prompts, pool, written, tokens):
            upload("t1", likeliest)
            upload("counts", draws)
    return made


def collect(place, job, context, tokens, kinds=("corpus", "t1", "counts")):
    """The shards of each set {kind: [paths]} of the teacher that a train job made, and what they
    hold {kind: [records, tokens]}; made when they are not there, or of another teacher."""
    teacher = place.folder_of(job) / "student.gguf"
    folder = place.folder_of(job + "-traces")
    made_of = {"teacher": hashlib.sha256(teacher.read_bytes()).hexdigest(), "tokens": tokens,
               "kinds": list(kinds), "context": context}
    done = folder / "made.json"
    if not done.exists() or json.loads(done.read_text())["of"] != made_of:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        pieces = training_pieces(place.folder_of(job) / "data-manifest.jsonl", place.corpus, 1)
        with Served(place.binaries, teacher, folder) as served, ThreadPoolExecutor(2) as pool:
            sets = make_sets(served, pieces, context, tokens, kinds, pool)
        done.write_text(json.dumps({"of": made_of, "sets": sets}, indent=1))
    shards = {kind: tuple(sorted(pathlib.Path(folder / "traces" / kind).glob("*.shard")))
              for kind in kinds}
    return shards, json.loads(done.read_text())["sets"]
