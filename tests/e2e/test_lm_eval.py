"""Log-probabilities as lm-evaluation-harness asks for and reads them.

Its own arithmetic is held against greedy generation on the tasks of lm_eval/ always; the harness
itself runs where TRISTILL_LM_EVAL=1 (its packages take 760 MB, so they have a folder of their own).
"""

import json
import os
import pathlib
import subprocess

import pytest

from openapi_contract import SOURCE
from programs import clean_environment

TASKS = pathlib.Path(__file__).resolve().parent / "lm_eval"
PROGRAM = SOURCE / "build" / "lm-eval" / "bin" / "lm_eval"
END_OF_TEXT = 1  # the token before the first of a file, for want of a beginning-of-text token


def rows(name):
    return [json.loads(line) for line in (TASKS / name).read_text().splitlines()]


def encode(daemon, text):
    return daemon.post("/tokenize", {"prompt": text})["tokens"]


def split(daemon, context, continuation):
    """Tokens of both, as the harness sends them: blanks at the context's end belong to what
    follows, which has the tokens of the whole that are beyond as many as the context has alone."""
    n_spaces = len(context) - len(context.rstrip())
    if n_spaces > 0:
        continuation = context[-n_spaces:] + continuation
        context = context[:-n_spaces]
    whole = encode(daemon, context + continuation)
    alone = encode(daemon, context)
    return alone, whole[len(alone):]


def score(daemon, model, context, continuation):
    """(sum of log-probabilities, whether each token is the likeliest), as the harness computes."""
    answer = daemon.complete(context + continuation, model=model.stem, temperature=0, max_tokens=1,
                             logprobs=1, seed=1234, echo=True)
    logprobs = answer["choices"][0]["logprobs"]
    tokens = logprobs["token_logprobs"][len(context):-1]
    tops = logprobs["top_logprobs"][len(context):-1]
    assert len(tokens) == len(continuation)
    return sum(tokens), all(token == max(top.values()) for token, top in zip(tokens, tops))


@pytest.fixture(scope="module")
def scored(daemon, model):
    """For every row of code_lines: [(context, continuation, sum, greedy) of each choice]."""
    return [[(*parts, *score(daemon, model, *parts)) for parts in
             (split(daemon, row["context"], choice) for choice in row["choices"])]
            for row in rows("code_lines.jsonl")]


def test_likeliest_tokens_are_what_greedy_generation_writes(daemon, model, scored):
    seen = set()
    for context, continuation, _, greedy in (one for row in scored for one in row):
        written = daemon.complete(context, model=model.stem, temperature=0, ignore_eos=True,
                                  max_tokens=len(continuation), logprobs=0)
        same = written["choices"][0]["logprobs"]["token_ids"] == continuation
        assert same == greedy
        seen.add(greedy)
    assert seen == {True, False}  # the task tells them apart


def test_code_is_likelier_than_no_code(scored):
    """Chance is one in four; silently wrong log-probabilities are at chance."""
    answers = [row["answer"] for row in rows("code_lines.jsonl")]
    best = [max(range(4), key=lambda i: row[i][2]) for row in scored]
    right = sum(a == b for a, b in zip(answers, best))
    assert right >= len(answers) / 2, f"{right} of {len(answers)}"


def test_scores_do_not_depend_on_the_request_they_came_with(daemon, model, scored):
    context, continuation, total, _ = scored[0][0]
    whole = context + continuation
    batch = daemon.complete([whole, whole[:-1], whole], model=model.stem, temperature=0,
                            max_tokens=1, logprobs=1, seed=1234, echo=True)["choices"]
    sums = [sum(choice["logprobs"]["token_logprobs"][len(context):-1]) for choice in batch]
    assert sums[0] == sums[2] == total


# The harness itself


@pytest.fixture(scope="module")
def harness(daemon, model, tmp_path_factory):
    """task -> its samples, of one run over both tasks; and what was printed."""
    if os.environ.get("TRISTILL_LM_EVAL") != "1":
        pytest.skip("TRISTILL_LM_EVAL is not 1: the harness takes 760 MB")
    if not PROGRAM.exists():
        pytest.skip("lm-evaluation-harness cannot be installed here")
    folder = tmp_path_factory.mktemp("lm_eval")
    context = daemon.get("/v1/models")["data"][0]["max_model_len"]
    arguments = {"model": model.stem, "base_url": daemon.url + "/v1/completions",
                 "tokenizer_backend": "remote", "tokenized_requests": True, "num_concurrent": 4,
                 "max_length": context, "custom_prefix_token_id": END_OF_TEXT, "max_retries": 1}
    done = subprocess.run(
        [PROGRAM, "--model", "local-completions", "--model_args", json.dumps(arguments),
         "--include_path", str(TASKS), "--tasks", "tristill_code_lines,tristill_code_files",
         "--log_samples", "--output_path", str(folder)],
        cwd=TASKS, capture_output=True, text=True, timeout=600,
        env=clean_environment(HF_HOME=str(folder / "cache"), HF_HUB_OFFLINE="1",
                              HF_DATASETS_OFFLINE="1"))
    assert done.returncode == 0, done.stderr[-6000:]
    samples = {}
    for path in folder.glob("**/samples_*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        task = path.name.removeprefix("samples_").rsplit("_", 1)[0]
        samples[task] = sorted(lines, key=lambda one: one["doc_id"])
    return samples


def test_the_harness_reads_the_same_scores(harness, scored):
    samples = harness["tristill_code_lines"]
    assert len(samples) == len(scored)
    for sample, row in zip(samples, scored):
        read = [(float(total), greedy in (True, "True")) for total, greedy in
                sample["filtered_resps"]]
        assert read == [(total, greedy) for _, _, total, greedy in row]


def test_the_harness_rolls_over_whole_files(harness, daemon, model):
    context = daemon.get("/v1/models")["data"][0]["max_model_len"]
    fitting = 0
    for sample in harness["tristill_code_files"]:
        tokens = encode(daemon, sample["doc"]["text"])
        read = float(sample["filtered_resps"][0])
        assert read < 0
        if len(tokens) < context - 1:
            assert read == score(daemon, model, [END_OF_TEXT], tokens)[0]
            fitting += 1
    assert fitting == 4
