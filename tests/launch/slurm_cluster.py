"""SLURM on this machine for a while: munge, a controller and two nodes of 16 made-up cores, in a
folder of their own. Nothing of the system's SLURM is read or written.
"""

import getpass
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile

from launched_job import ENDS_WITH_US, environment, free_ports, wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "sinfo")
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
SYSTEM = "/usr/sbin:/sbin"  # where Debian has the daemons, which PATH of users lacks

# cred_expire: for how long a job waits that was put into the queue again, in seconds; less than 5
# means 120, the default.
CONFIGURATION = """\
ClusterName=launch
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=1,sched_interval=1
FirstJobId={first_job}
NodeName={host} NodeAddr=127.0.0.1 Port={node_port} CPUs=16
NodeName={host}2 NodeAddr=127.0.0.1 Port={next_port} CPUs=16
PartitionName=all Nodes=ALL Default=YES State=UP
"""


def missing_programs():
    path = f"{os.environ['PATH']}:{SYSTEM}"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


class SlurmCluster:
    """`with` starts and stops it. The first node has this machine's name, where ranks meet."""

    def __init__(self):
        self.host = socket.gethostname().split(".")[0]
        # In /tmp: the path of a socket may have 107 characters.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        self.daemons = []
        port = free_ports()
        node_port = free_ports()
        (self.folder / "slurm.conf").write_text(CONFIGURATION.format(
            host=self.host, user=getpass.getuser(), folder=self.folder, port=port,
            node_port=node_port, next_port=node_port + 1, first_job=1 + port % 9000))

    def environment(self):
        values = environment(SLURM_CONF=str(self.folder / "slurm.conf"))
        return values | {"PATH": f"{values['PATH']}:{SYSTEM}"}

    def daemon(self, *command):
        with (self.folder / "daemons.log").open("a") as log:
            process = subprocess.Popen([*ENDS_WITH_US, *command], stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=subprocess.STDOUT,
                                       env=self.environment())
        self.daemons.append(process)
        return process

    def log(self):
        return (self.folder / "daemons.log").read_text(errors="replace")[-6000:]

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def start(self):
        here = self.folder
        key = here / "munge.key"
        key.write_bytes(os.urandom(64))
        key.chmod(0o600)
        (here / "state").mkdir()
        # --force: its folder may be in one that others may write, as /tmp is.
        munge = self.daemon("munged", "--foreground", "--force", f"--socket={here}/munge.socket",
                            f"--key-file={key}", f"--log-file={here}/munge.log",
                            f"--pid-file={here}/munge.pid", f"--seed-file={here}/munge.seed")
        wait_until((here / "munge.socket").exists, "munge listens", self.log, munge)
        controller = self.daemon("slurmctld", "-D")
        wait_until(lambda: "is UP" in self.asked("scontrol", "ping"), "SLURM answers", self.log,
                   controller)
        for node in (self.host, self.host + "2"):
            (here / f"spool.{node}").mkdir()
            self.daemon("slurmd", "-D", "-N", node)
        wait_until(lambda: self.asked("sinfo", "-h", "-o", "%D %T").split() == ["2", "idle"],
                   "both nodes are idle", self.log, controller)

    def asked(self, *command):
        """What a command says, also when it fails."""
        return subprocess.run(command, env=self.environment(), capture_output=True, text=True,
                              timeout=60).stdout

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        subprocess.run(["scancel", "--full", "--signal=KILL", f"--user={getpass.getuser()}"],
                       env=self.environment(), capture_output=True, timeout=60)
        for process in reversed(self.daemons):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *command, **extra):
        """What a command of SLURM says."""
        done = subprocess.run(command, env=self.environment() | extra, capture_output=True,
                              text=True, timeout=60)
        assert done.returncode == 0, f"{command}: {done.stderr}\n{self.log()}"
        return done.stdout.strip()

    def job(self, number):
        """What SLURM knows of a job: field -> value."""
        return dict(re.findall(r"(\S+?)=(\S*)", self.run("scontrol", "show", "job", "-o", number)))

    def wait_for_end(self, number, restarts):
        """The job, once it has ended for good, or was started again more often than that."""
        def has_ended():
            job = self.job(number)
            return int(job["Restarts"]) > restarts or job["JobState"] in ENDED
        wait_until(has_ended, f"the end of job {number}", self.log)
        return self.job(number)
