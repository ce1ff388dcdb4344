"""The files of configs/launch under the launchers themselves, with the real worker. Every run is
stopped in its middle, goes on from its checkpoint, and ends in the bytes that one rank gives.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest
import yaml

import slurm_cluster
from launched_job import BIN, LAUNCH, LaunchedJob, MOST_SECONDS, SOURCE, environment, free_ports

STOPPED = 75  # after a checkpoint: base/exit_code.h
TORCHRUN = {"PET_REDIRECTS": "1", "PET_TEE": "1"}  # for Debian 12's: configs/launch/torchrun.sh
MPIRUN = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

pytestmark = pytest.mark.skipif(not (BIN / "tristill-worker").exists(),
                                reason="tristill-worker is not built")
needs_torchrun = pytest.mark.skipif(shutil.which("torchrun") is None,
                                    reason="there is no torchrun (python3-torch)")
needs_mpirun = pytest.mark.skipif(shutil.which("mpirun") is None,
                                  reason="there is no mpirun (openmpi-bin)")
needs_slurm = pytest.mark.skipif(bool(slurm_cluster.missing_programs()),
                                 reason="SLURM is not there (slurm-wlm, munge); missing are " +
                                 ", ".join(slurm_cluster.missing_programs()))


def script_of_the_document():
    """What docs/distributed.md shows: lines that make a job directory, and the one that runs it."""
    text = (SOURCE / "docs/distributed.md").read_text()
    blocks = re.findall(r"^```\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    [block] = [block for block in blocks if "run/job.json" in block]
    making, running, rest = re.split(r"^(configs/launch/.*\n)", block, flags=re.MULTILINE)
    assert not rest
    return making, running


def run_script(script, folder, **extra):
    folder.mkdir(exist_ok=True)
    if not (folder / "configs").exists():
        (folder / "configs").symlink_to(SOURCE / "configs")
    return subprocess.run(["bash", "-e", "-c", script], cwd=folder, capture_output=True, text=True,
                          timeout=MOST_SECONDS, env=environment(**extra))


@pytest.fixture(scope="session")
def described(tmp_path_factory):
    """The job of the document, for ranks of one thread."""
    folder = tmp_path_factory.mktemp("described")
    done = run_script(script_of_the_document()[0], folder)
    assert done.returncode == 0, done.stderr
    job = json.loads((folder / "run/job.json").read_text())
    job["spec"]["threads"] = 1
    return job


@pytest.fixture(scope="session")
def last_step(described):
    return described["spec"]["budget"]["max_steps"]


@pytest.fixture(scope="session")
def alone(described, tmp_path_factory):
    """The model file of one rank that no launcher started."""
    job = LaunchedJob(tmp_path_factory.mktemp("alone"), described)
    assert job.start("tristill-worker").wait(MOST_SECONDS) == 0, job.told()
    return job.model()


@pytest.fixture
def job(described, tmp_path):
    return LaunchedJob(tmp_path, described)


def stop_and_go_on(job, last_step, start, stop, code):
    """Runs start() twice: stop(process) stops the first, which ends with the code."""
    process = start()
    job.wait_for_a_step(process)
    stop(process)
    assert process.wait(MOST_SECONDS) == code, job.told()
    job.expect_stopped(last_step)
    resumed_after, seen = job.checkpoint_step(), len(job.steps())
    assert start().wait(MOST_SECONDS) == 0, job.told()
    assert job.outcomes() == ["interrupted", "succeeded"]
    assert min(job.steps()[seen:]) > resumed_after, "it began again from the start"


@needs_torchrun
def test_the_document_makes_a_job_that_torchrun_trains(alone, tmp_path):
    done = run_script("".join(script_of_the_document()), tmp_path, PORT=str(free_ports()),
                      OMP_NUM_THREADS="1", **TORCHRUN)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/student.gguf").read_bytes() == alone


@needs_torchrun
def test_torchrun_stops_its_ranks_after_a_checkpoint(job, alone, last_step):
    port = str(free_ports())
    stop_and_go_on(job, last_step,
                   lambda: job.start(LAUNCH / "torchrun.sh", PORT=port, **TORCHRUN),
                   lambda launcher: launcher.terminate(), code=1)
    assert job.model() == alone


@needs_mpirun
def test_mpirun_stops_its_ranks_after_a_checkpoint(job, alone, last_step):
    port = str(free_ports())
    stop_and_go_on(job, last_step,
                   lambda: job.start(LAUNCH / "mpirun.sh", PORT=port, **MPIRUN),
                   lambda launcher: launcher.terminate(), code=STOPPED)
    assert job.model() == alone


@pytest.fixture(scope="module")
def slurm():
    with slurm_cluster.SlurmCluster() as running:
        yield running


def submit(slurm, job, **extra):
    """The number of the job that sbatch makes of the file as it is: 4 ranks on 2 nodes."""
    try:
        socket.gethostbyname(slurm.host)
    except OSError:  # a name that nobody knows is no place to meet
        extra["MASTER_ADDR"] = "127.0.0.1"
    return slurm.run("sbatch", "--parsable", f"--chdir={job.folder.parent}",
                     f"--output={job.log}", "--open-mode=append", LAUNCH / "slurm.sbatch",
                     job.folder, **extra)


@needs_slurm
def test_slurm_queues_a_stopped_run_again_and_it_goes_on(job, alone, last_step, slurm):
    number = submit(slurm, job)
    job.wait_for_a_step()
    slurm.run("scancel", "--signal=TERM", number)  # what --signal does before the time is up
    ended = slurm.wait_for_end(number, restarts=1)
    assert (ended["JobState"], ended["ExitCode"]) == ("COMPLETED", "0:0"), job.told()
    assert ended["Restarts"] == "1" and ended["NumTasks"] == "4"
    assert job.outcomes() == ["interrupted", "succeeded"]
    assert f"Exited with exit code {STOPPED}" in job.told()
    steps = job.steps()
    assert len(set(steps)) == len(steps) and steps[-1] == last_step, "it began again"
    assert job.model() == alone


@needs_slurm
def test_slurm_does_not_queue_a_collapsed_run_again(job, slurm, tmp_path):
    worker = tmp_path / "bin/tristill-worker"
    worker.parent.mkdir()
    worker.write_text('#!/bin/sh\necho \'{"type":"result","texts":{"outcome":"paused"}}\' '
                      f'>"$1/events.jsonl"\nexit {STOPPED}\n')
    worker.chmod(0o755)
    number = submit(slurm, job, PATH=f"{worker.parent}:{slurm.environment()['PATH']}")
    ended = slurm.wait_for_end(number, restarts=0)
    assert ended["Restarts"] == "0"
    assert (ended["JobState"], ended["ExitCode"]) == ("FAILED", f"{STOPPED}:0"), job.told()


@pytest.fixture(scope="module")
def manifests():
    """Service and Job of configs/launch/kubernetes.yaml."""
    found = {document["kind"]: document for document in
             yaml.safe_load_all((LAUNCH / "kubernetes.yaml").read_text())}
    assert set(found) == {"Service", "Job"}
    return found


def container_of(manifests):
    [container] = manifests["Job"]["spec"]["template"]["spec"]["containers"]
    return container


def test_the_parts_of_the_kubernetes_file_fit_together(manifests):
    service, job = manifests["Service"], manifests["Job"]
    name, pod = job["metadata"]["name"], job["spec"]["template"]["spec"]
    values = {item["name"]: item.get("value") for item in container_of(manifests)["env"]}
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == int(values["WORLD_SIZE"])
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": name}
    assert pod["subdomain"] == service["metadata"]["name"]
    assert values["MASTER_ADDR"] == f"{name}-0.{pod['subdomain']}"
    mounted = {mount["name"]: mount["mountPath"] for mount in
               container_of(manifests)["volumeMounts"]}
    assert set(mounted) == {volume["name"] for volume in pod["volumes"]}
    program, directory = container_of(manifests)["command"]
    assert program == "tristill-worker"
    assert any(directory.startswith(path + "/") for path in mounted.values())


def test_the_worker_reads_what_the_kubernetes_file_sets(manifests):
    read = (SOURCE / "train/distributed/rank_place.cpp").read_text()
    for item in container_of(manifests)["env"]:
        assert f'"{item["name"]}"' in read, item["name"]


def environment_of_pod(manifests, index, port):
    """What Kubernetes would set; but the ranks meet on this machine."""
    fields = {"metadata.annotations['batch.kubernetes.io/job-completion-index']": str(index)}
    values = {item["name"]: item["value"] if "value" in item else
              fields[item["valueFrom"]["fieldRef"]["fieldPath"]]
              for item in container_of(manifests)["env"]}
    return values | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}


def test_pods_of_the_kubernetes_file_are_ranks(job, alone, last_step, manifests):
    port = str(free_ports())
    pods = []

    def start():
        pods[:] = [job.start("tristill-worker", **environment_of_pod(manifests, index, port))
                   for index in range(manifests["Job"]["spec"]["completions"])]
        return pods[0]

    # One that is evicted stops all.
    stop_and_go_on(job, last_step, start, lambda _: os.kill(pods[1].pid, signal.SIGTERM),
                   code=STOPPED)
    assert [pod.wait(MOST_SECONDS) for pod in pods] == [0, 0]
    assert job.model() == alone
