"""Jobs of tristill-worker: directories as the daemon writes them, run without one, and read.

A job's directory outlives the program: what succeeded is read and not run again, what was
interrupted goes on from its checkpoint, and what was of another specification is begun anew.
"""

import dataclasses
import json
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import time

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
TOKENIZER_JOB = "ftjob-tokenizer"
STARTER = SOURCE / "assets/starter.gguf"
ENDED = ("succeeded", "paused")
POLL_SECONDS = 0.25


def python_stdlib():
    """The folder of the corpus python-stdlib, by the same rule as server/jobs/corpora.cpp."""
    found = [folder for prefix in ("/usr/lib", "/usr/local/lib")
             for folder in pathlib.Path(prefix).glob("python3.*")
             if folder.name[8:].isdigit() and (folder / "os.py").exists()]
    if not found:
        raise SystemExit("no standard library of a python3 in /usr/lib; install python3 (--corpus "
                         "FOLDER names another, where that is an option)")
    return max(found, key=lambda folder: int(folder.name[8:]))


def merged(base, changes):
    """base with the fields of changes, objects field by field. None takes a field away."""
    out = dict(base)
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(out.get(name), dict):
            out[name] = merged(out[name], value)
        elif value is None:
            out.pop(name, None)
        else:
            out[name] = value
    return out


@dataclasses.dataclass
class Plan:
    """One job that is to run: its name among the jobs of a folder, and what the worker is told."""
    name: str
    spec: dict
    shards: tuple = ()  # trace shards
    teachers: tuple = ()  # model files, as the spec's teaching.teachers
    tokenizer: pathlib.Path = None  # the model file of the spec's tokenizer.from_model


@dataclasses.dataclass
class Running:
    plan: Plan
    folder: pathlib.Path
    process: subprocess.Popen  # None: it was done before


class Workplace:
    """A folder of jobs on one corpus, which share one tokenizer."""

    def __init__(self, binaries, folder, corpus):
        self.binaries = pathlib.Path(binaries).resolve()
        self.folder = pathlib.Path(folder).resolve()
        self.corpus = pathlib.Path(corpus).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        for number in (signal.SIGINT, signal.SIGTERM):  # run_all then ends the workers
            signal.signal(number, lambda *_: sys.exit("interrupted; start it again to go on"))

    def folder_of(self, name):
        return self.folder / name

    def start(self, plan):
        folder = self.folder_of(plan.name)
        text = json.dumps(self._job_file(plan), indent=1)
        if (folder / "job.json").exists() and (folder / "job.json").read_text() != text:
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if outcome_of(folder) in ENDED:
            return Running(plan, folder, None)
        (folder / "job.json").write_text(text)
        with (folder / "job.log").open("a") as log:
            process = subprocess.Popen([self.binaries / "tristill-worker", folder], stdout=log,
                                       stderr=subprocess.STDOUT)
        return Running(plan, folder, process)

    def run(self, plan):
        """What read_run finds; the program ends when the job did not come to its end."""
        [(_, result)] = list(self.run_all([plan], 1))
        if result["outcome"] not in ENDED:
            raise SystemExit(f"job {plan.name} {result['outcome']}: {result['message']}; see "
                             f"{self.folder_of(plan.name)}")
        return result

    def run_all(self, plans, at_once, deadline=None):
        """Runs plans, at_once of them side by side, and yields (plan, result) as they end. After
        the deadline (time.monotonic) none is begun. When the program is interrupted, the workers
        write a checkpoint and end."""
        waiting, running = list(plans), []
        try:
            while waiting or running:
                late = deadline is not None and time.monotonic() > deadline
                while waiting and len(running) < at_once and not late:
                    running.append(self.start(waiting.pop(0)))
                if not running:
                    return
                ended = [one for one in running
                         if one.process is None or one.process.poll() is not None]
                for one in ended:
                    running.remove(one)
                    yield one.plan, read_run(one.folder)
                if not ended:
                    time.sleep(POLL_SECONDS)
        finally:
            for one in running:
                if one.process is not None:
                    one.process.terminate()
            for one in running:
                if one.process is not None:
                    one.process.wait()

    def tokenizer(self, vocab_size):
        """Trains the tokenizer that all train jobs of this folder share."""
        self.run(Plan(TOKENIZER_JOB, {
            "kind": "tokenizer", "name": "shared", "tokenizer": {"vocab_size": vocab_size},
            "data": {"corpora": [{"name": "python-stdlib"}]}}))

    def forget(self, name):
        shutil.rmtree(self.folder_of(name), ignore_errors=True)

    def forget_checkpoints(self, name):
        shutil.rmtree(self.folder_of(name) / "checkpoints", ignore_errors=True)

    def _job_file(self, plan):
        job = {"id": "ftjob-bench", "spec": plan.spec,
               "trace_shards": [str(shard) for shard in plan.shards],
               "teachers": [str(teacher) for teacher in plan.teachers],
               "corpora": [{"source": source, "path": str(self.corpus)}
                           for source in plan.spec["data"]["corpora"]]}
        if plan.tokenizer:
            job["tokenizer_model"] = str(plan.tokenizer)
        if plan.spec.get("tokenizer", {}).get("from_job"):
            job["tokenizer_pieces"] = str(self.folder_of(TOKENIZER_JOB) / "tokenizer.model")
        return job


def train_spec(model, steps, **changes):
    """A train job on the standard library, with the shared tokenizer."""
    base = {"kind": "train", "name": "bench", "model": model,
            "tokenizer": {"from_job": TOKENIZER_JOB},
            "data": {"corpora": [{"name": "python-stdlib"}], "fim_rate": 0},
            "budget": {"max_steps": steps}, "checkpoint_seconds": 120}
    return merged(base, changes)


def starter_plan(name, model, **changes):
    """A train job with the starter model's tokenizer and nothing but steps in its seconds, for
    speeds; changes give its budget."""
    spec = train_spec(model, 0, tokenizer=None, budget=None, checkpoint_seconds=3600,
                      eval_tokens=0, data={"fim_rate": None})
    return Plan(name, merged(spec | {"tokenizer": {"from_model": "starter"}}, changes),
                tokenizer=STARTER)


def read_events(folder):
    path = pathlib.Path(folder) / "events.jsonl"
    if not path.exists():
        return []
    lines = path.read_text().split("\n")[:-1]  # what follows the last line end is torn
    return [json.loads(line) for line in lines]


def outcome_of(folder):
    events = read_events(folder)
    last = events[-1] if events else {}
    return last.get("texts", {}).get("outcome") if last.get("type") == "result" else None


def read_run(folder):
    """What a job's events say of it: outcome, message, numbers of the last look and of the
    evaluation on held-out files, speed (median without the first look), first step of each alarm,
    seconds until the first step, and the step at which it was stopped for its health."""
    events = read_events(folder)
    outcome = outcome_of(folder)
    out = {"outcome": outcome or "died", "message": "", "alarms": {}}
    if outcome:
        out["message"] = events[-1].get("message", "")
    else:
        out["message"] = "the worker left no result; its job.log may say why"
    speeds = []
    for event in events:
        numbers, texts = event.get("numbers", {}), event.get("texts", {})
        if "tokens_per_second" in numbers:
            speeds.append(numbers["tokens_per_second"])
        for name in ("step", "tokens", "loss", "ce", "kd", "zero_fraction", "flip_rate", "std_min",
                     "branch_gain", "bits_per_byte", "valid_loss", "valid_bytes", "valid_tokens"):
            if name in numbers and event["type"] == "metrics":
                out[name] = numbers[name]
        if texts.get("phase") == "training" and "prepare_seconds" not in out:
            out["prepare_seconds"] = event["time"] - events[0]["time"]
        if "alarm" in texts and event["type"] == "log":
            out["alarms"].setdefault(texts["alarm"], int(numbers["step"]))
    if speeds:
        out["tokens_per_second"] = statistics.median(speeds[1:] or speeds)
    if outcome == "paused":
        out["paused_at"] = int(out["step"])
    return out
