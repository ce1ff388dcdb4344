"""The client as a program: running it with an environment of its own, also on a terminal."""

import fcntl
import os
import pathlib
import pty
import select
import struct
import subprocess
import termios

from openapi_contract import Contract, SOURCE

BIN = pathlib.Path(os.environ.get("TRISTILL_BIN", SOURCE / "build/release/bin")).resolve()
CONTRACT = Contract.load()
OK, USAGE, DATA, NOT_FOUND, UNAVAILABLE = 0, 64, 65, 66, 69
RESOURCE, CONFLICT, INTERRUPTED, PERMISSION = 71, 73, 75, 77


def environment(daemon=None, **extra):
    """Without anything of the user's: neither variables nor files."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("TRISTILL_")}
    env |= {"TZ": "UTC", "XDG_CONFIG_HOME": "/nowhere", "XDG_STATE_HOME": "/dev/null/nowhere"}
    if daemon is not None:
        env["TRISTILL_SERVER"] = daemon.url
    return env | extra


def tristill(*args, daemon=None, stdin=b"", **env):
    """Runs the client; the finished process with text output."""
    done = subprocess.run([str(BIN / "tristill"), *args], input=stdin, capture_output=True,
                          env=environment(daemon, **env), timeout=60)
    done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
    return done


def completion(*texts):
    choices = [{"text": t, "index": i, "logprobs": None, "finish_reason": "stop"}
               for i, t in enumerate(texts)]
    return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m",
            "choices": choices}


def chunks(*texts):
    return [(None, {**completion(t), "choices": [{"text": t, "index": 0, "logprobs": None,
                                                  "finish_reason": None}]}) for t in texts]


def run_on_terminal(args, daemon, columns):
    """The client's output on a terminal of so many columns, and its exit code."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    client = subprocess.Popen([str(BIN / "tristill"), *args], stdin=subprocess.DEVNULL,
                              stdout=slave, stderr=subprocess.PIPE, env=environment(daemon))
    os.close(slave)
    shown = b""
    while select.select([master], [], [], 30)[0]:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    code = client.wait(30)
    client.stderr.close()
    return shown.decode(), code


class Terminal:
    """The client on a terminal of its own: what is typed, what is shown."""

    def __init__(self, *args, daemon=None, **env):
        pid, self.master = pty.fork()
        if pid == 0:
            settings = environment(daemon, TERM="xterm", **env)
            os.execve(str(BIN / "tristill"), ["tristill", *args], settings)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.pid = pid
        self.shown = ""
        self.status = None

    def type(self, text):
        os.write(self.master, text.encode())

    def wait_for(self, text):
        """Reads until text is shown; what was shown up to its end, which is then forgotten."""
        while text not in self.shown:
            assert self._read(), f"{text!r} was not shown before the end: {self.shown!r}"
        end = self.shown.index(text) + len(text)
        seen, self.shown = self.shown[:end], self.shown[end:]
        return seen

    def end(self):
        """Reads to the program's end: its exit status and the rest that was shown."""
        while self._read():
            pass
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        return self.status, self.shown

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.status is None:
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)
        os.close(self.master)

    def _read(self):
        assert select.select([self.master], [], [], 30)[0], f"nothing more comes: {self.shown!r}"
        try:
            piece = os.read(self.master, 65536)
        except OSError:  # the other side is closed
            return False
        self.shown += piece.decode(errors="replace")
        return bool(piece)
