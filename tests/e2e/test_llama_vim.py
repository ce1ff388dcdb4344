"""Vim with the plugin llama.vim, driven as a person would through a terminal: open a file, type,
see the suggestion as virtual text, accept it with Tab.

Needs a checkout of the plugin, TRISTILL_LLAMA_VIM=PATH, and Vim 9 with +job and +textprop.
"""

import json
import os
import pty
import shutil
import subprocess
import threading

import pytest

from programs import clean_environment
from test_serving import wait_until

PLUGIN = os.environ.get("TRISTILL_LLAMA_VIM")
pytestmark = [
    pytest.mark.skipif(not PLUGIN, reason="TRISTILL_LLAMA_VIM names no checkout of llama.vim"),
    pytest.mark.skipif(not shutil.which("vim"), reason="vim is not installed"),
]

# The state of the editor goes to a file whenever Vim is idle: what is on the lines, what the screen
# shows on the cursor's row (with virtual text), and what Vim complained about.
VIMRC = """
set nocompatible noswapfile nobackup noshowmode shortmess+=I viminfo=
set runtimepath+=%(plugin)s
let g:llama_config = {'endpoint_fim': '%(url)s/infill', 'endpoint_inst':
      \\ '%(url)s/v1/chat/completions', 't_max_predict_ms': 10000}
function! WriteState(timer)
  let row = winline()
  let shown = join(map(range(1, &columns), 'screenstring(row, v:val)'), '')
  let state = {'mode': mode(), 'lines': getline(1, '$'), 'shown': shown, 'messages':
        \\ execute('messages'), 'hint': llama#is_fim_hint_shown()}
  call writefile([json_encode(state)], '%(state)s.part')
  call rename('%(state)s.part', '%(state)s')
endfunction
call timer_start(50, 'WriteState', {'repeat': -1})
"""


class Vim:
    """Vim in a terminal of its own; `with` ends it."""

    def __init__(self, folder, url, text):
        self.state_file = folder / "state.json"
        self.file = folder / "shapes.py"
        self.file.write_text(text)
        (folder / "vimrc").write_text(
            VIMRC % {"plugin": PLUGIN, "url": url, "state": self.state_file})
        self.terminal, inner = pty.openpty()
        self.process = subprocess.Popen(
            ["vim", "-N", "-u", folder / "vimrc", self.file], stdin=inner, stdout=inner,
            stderr=inner, start_new_session=True, env=clean_environment(TERM="xterm"))
        os.close(inner)
        threading.Thread(target=self.drain, daemon=True).start()

    def drain(self):
        try:
            while os.read(self.terminal, 65536):
                pass
        except OSError:  # Vim has ended
            pass

    def type(self, keys):
        os.write(self.terminal, keys.encode())

    def state(self):
        try:
            return json.loads(self.state_file.read_text())
        except FileNotFoundError:
            return {"mode": "", "lines": [], "shown": "", "messages": "", "hint": False}

    def suggestion(self, line, keys):
        """Types keys at the end of a line until text is suggested behind it: (the line, the part
        of the suggestion that its row shows). An answer may be empty: the next key asks anew."""
        for key in keys:
            self.type(key)
            line += key
            wait_until(lambda line=line: self.state()["hint"] and line in self.state()["lines"])
            shown = self.state()["shown"].removeprefix(line).split("   | c:")[0].rstrip()
            if shown.strip():
                return line, shown
        raise AssertionError(f"nothing was suggested behind {line!r}: {self.state()}")

    def leave(self, command):
        self.type("\x1b" + command + "\r")
        self.process.wait(30)

    def __enter__(self):
        wait_until(lambda: self.state()["mode"])
        if self.state()["mode"].startswith("r"):  # the plugin wants Vim 9.1: "Press ENTER"
            self.type("\r")
        wait_until(lambda: self.state()["lines"])
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        os.close(self.terminal)


def test_a_suggestion_is_shown_and_accepted(daemon, tmp_path):
    before = "import math\n\n\nclass Point:\n    def __eq__(self, other):\n"
    with Vim(tmp_path, daemon.url, before) as vim:
        vim.type("Go        if")
        line, shown = vim.suggestion("        if", " not isinstance(")
        assert vim.state()["mode"] == "i"
        vim.type("\t")
        wait_until(lambda: any(one.startswith(line + shown) for one in vim.state()["lines"]))
        assert "Error" not in vim.state()["messages"], vim.state()["messages"]
        vim.leave(":wq")
    assert vim.file.read_text().startswith(before + line + shown)


def test_keys_abandon_requests_and_the_last_is_answered(daemon, tmp_path):
    with Vim(tmp_path, daemon.url, "def add(a, b):\n") as vim:
        vim.type("o    return a")
        line, _ = vim.suggestion("    return a", " + bc")
        assert "Error" not in vim.state()["messages"], vim.state()["messages"]
        vim.leave(":q!")
    assert vim.file.read_text() == "def add(a, b):\n"
