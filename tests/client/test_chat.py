"""tristill chat: one message from a script, and a conversation on a terminal."""

import json
import stat

import pytest

from client_program import DATA, NOT_FOUND, OK, UNAVAILABLE, USAGE, Terminal, tristill
from fake_daemon import broken_answer, error_answer, json_answer, open_answer, sse_answer

CHAT = "/v1/chat/completions"


def deltas(*texts):
    """A stream as OpenAI's: the first delta has the role, the last the reason."""
    parts = [{"role": "assistant", "content": ""}, *({"content": text} for text in texts), {}]
    return [(None, {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1,
                    "model": "m", "choices": [{"index": 0, "delta": part, "finish_reason":
                                               None if part else "stop"}]}) for part in parts]


def whole(text):
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop",
                         "message": {"role": "assistant", "content": text}}]}


def messages(call):
    return [(turn["role"], turn["content"]) for turn in call.json()["messages"]]


def test_one_message_streams_to_a_pipe_byte_for_byte(daemon):
    daemon.on("POST", CHAT, sse_answer(*deltas("é ", "\x1b[0m", "\nend")))
    done = tristill("chat", "hello", "--system", "be brief", "--model", "m", "--temperature", "0",
                    "--top-k", "4", "--stop", "x", daemon=daemon)
    assert (done.returncode, done.stdout) == (OK, "é \x1b[0m\nend"), done.stderr
    assert daemon.calls[0].json() == {
        "messages": [{"role": "system", "content": "be brief"},
                     {"role": "user", "content": "hello"}],
        "model": "m", "temperature": 0, "top_k": 4, "stop": ["x"], "max_tokens": 1024,
        "stream": True}


def test_without_a_terminal_standard_input_is_the_message(daemon):
    daemon.on("POST", CHAT, sse_answer(*deltas("x")))
    assert tristill("chat", daemon=daemon, stdin="a\né\n".encode()).returncode == OK
    assert messages(daemon.calls[0]) == [("user", "a\né\n")]


def test_json_is_the_answer_as_it_came(daemon):
    daemon.on("POST", CHAT, json_answer(whole("hi")))
    done = tristill("chat", "hello", "--json", daemon=daemon)
    assert json.loads(done.stdout) == whole("hi")
    assert "stream" not in daemon.calls[0].json()
    assert tristill("chat", "hello", "--no-stream", daemon=daemon).stdout == "hi"


def test_a_saved_conversation_goes_on(daemon, tmp_path):
    file = tmp_path / "talk.json"
    daemon.on("POST", CHAT, sse_answer(*deltas("one")), sse_answer(*deltas("two")))
    assert tristill("chat", "first", "--save", str(file), daemon=daemon).returncode == OK
    assert json.loads(file.read_text())["messages"][1] == {"role": "assistant", "content": "one"}
    args = ["chat", "second", "--load", str(file), "--save", str(file)]
    assert tristill(*args, daemon=daemon).returncode == OK
    assert messages(daemon.calls[1]) == [("user", "first"), ("assistant", "one"),
                                         ("user", "second")]
    assert len(json.loads(file.read_text())["messages"]) == 4


@pytest.mark.parametrize("args,exit_code", [
    (["--load", "/nowhere/x"], NOT_FOUND), (["--load", "/dev/null"], DATA),
    (["--temperature", "3"], USAGE), (["--file", "/dev/null"], USAGE)])
def test_what_cannot_be_sent_is_refused_before(daemon, args, exit_code):
    assert tristill("chat", "x", *args, daemon=daemon).returncode == exit_code
    assert daemon.calls == []


def test_errors_of_the_daemon_are_told(daemon):
    daemon.on("POST", CHAT, error_answer(400, "the model has no chat template"))
    done = tristill("chat", "x", daemon=daemon)
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert "no chat template" in done.stderr
    daemon.on("POST", CHAT, broken_answer(sse_answer(*deltas("a"), done=False)))
    done = tristill("chat", "x", daemon=daemon)
    assert (done.returncode, done.stdout) == (UNAVAILABLE, "a")


# On a terminal


def conversation(daemon, tmp_path, *args):
    return Terminal("chat", *args, daemon=daemon, XDG_STATE_HOME=str(tmp_path / "state"))


def leave(terminal):
    """Ctrl-D is a key only once the prompt is there."""
    terminal.wait_for("> ")
    terminal.type("\x04")
    assert terminal.end()[0] == OK


def test_turns_are_kept_and_reset_forgets_them(daemon, tmp_path):
    daemon.on("POST", CHAT, sse_answer(*deltas("first answer")), sse_answer(*deltas("second")),
              sse_answer(*deltas("third")))
    with conversation(daemon, tmp_path) as terminal:
        terminal.wait_for("> ")
        terminal.type("one\n")
        terminal.wait_for("first answer")
        terminal.wait_for("> ")
        terminal.type("two\n")
        terminal.wait_for("second")
        terminal.wait_for("> ")
        terminal.type("/system be brief\n")
        terminal.wait_for("instruction: be brief")
        terminal.type("/reset\n")
        terminal.wait_for("starts again")
        terminal.type("three\n")
        terminal.wait_for("third")
        terminal.type("/quit\n")
        assert terminal.end()[0] == OK
    assert [messages(call) for call in daemon.calls] == [
        [("user", "one")],
        [("user", "one"), ("assistant", "first answer"), ("user", "two")],
        [("system", "be brief"), ("user", "three")]]


def test_ctrl_c_stops_the_answer_and_not_the_program(daemon, tmp_path):
    daemon.on("POST", CHAT, open_answer(sse_answer(*deltas("begun"), done=False)),
              open_answer(sse_answer(*deltas("again"), done=False)), sse_answer(*deltas("whole")))
    with conversation(daemon, tmp_path) as terminal:
        terminal.wait_for("> ")
        for begin in ("begun", "again"):
            daemon.left.clear()
            terminal.type("go\n")
            terminal.wait_for(begin)
            terminal.type("\x03")
            terminal.wait_for("(stopped)")
            assert daemon.left.wait(30), "the connection was not closed"
            terminal.wait_for("> ")
        terminal.type("once more\n")
        terminal.wait_for("whole")
        leave(terminal)
    assert messages(daemon.calls[2]) == [
        ("user", "go"), ("assistant", "begun"), ("user", "go"), ("assistant", "again"),
        ("user", "once more")]


def test_ctrl_c_at_the_prompt_leaves_the_line(daemon, tmp_path):
    daemon.on("POST", CHAT, sse_answer(*deltas("answer")))
    with conversation(daemon, tmp_path) as terminal:
        terminal.wait_for("> ")
        terminal.type("not this")
        terminal.wait_for("not this")
        terminal.type("\x03")
        terminal.wait_for("^C")
        terminal.wait_for("> ")
        terminal.type("but this\n")
        terminal.wait_for("answer")
        leave(terminal)
    assert [messages(call) for call in daemon.calls] == [[("user", "but this")]]


def test_a_turn_without_an_answer_is_taken_back(daemon, tmp_path):
    daemon.on("POST", CHAT, error_answer(503, "no model is loaded"), sse_answer(*deltas("there")))
    with conversation(daemon, tmp_path) as terminal:
        terminal.wait_for("> ")
        terminal.type("one\n")
        terminal.wait_for("no model is loaded")
        terminal.type("two\n")
        terminal.wait_for("there")
        leave(terminal)
    assert messages(daemon.calls[1]) == [("user", "two")]


def test_lines_are_edited_and_remembered_for_the_next_run(daemon, tmp_path):
    daemon.on("POST", CHAT, sse_answer(*deltas("yes")))
    for typed in ("hallo\x1b[D\x7f\x7f\x7f\x7fé\n", "\x1b[A\n"):  # left, erase; up
        with conversation(daemon, tmp_path) as terminal:
            terminal.wait_for("> ")
            terminal.type(typed)
            terminal.wait_for("yes")
            leave(terminal)
    assert [messages(call) for call in daemon.calls] == [[("user", "éo")]] * 2
    history = tmp_path / "state" / "tristill" / "history"
    assert history.read_text() == "éo\n"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_blocks_files_and_unknown_commands(daemon, tmp_path):
    file = tmp_path / "talk.json"
    daemon.on("POST", CHAT, sse_answer(*deltas("fine")))
    with conversation(daemon, tmp_path) as terminal:
        terminal.wait_for("> ")
        terminal.type('"""\nl1\n')
        terminal.wait_for("... ")
        terminal.type('l2\n"""\n')
        terminal.wait_for("fine")
        terminal.type(f"/save {file}\n")
        terminal.wait_for("2 turns in")
        terminal.type("/nonsense\n")
        terminal.wait_for("no command /nonsense")
        terminal.type("//slash\n")
        terminal.wait_for("fine")
        terminal.type(f"/load {file}\n")
        terminal.wait_for("2 turns in")
        terminal.type("/show\n")
        terminal.wait_for("assistant: fine")
        terminal.type("/quit\n")
        assert terminal.end()[0] == OK
    assert messages(daemon.calls[0]) == [("user", "l1\nl2")]
    assert messages(daemon.calls[1])[-1] == ("user", "/slash")


def test_an_answer_cannot_drive_the_terminal(daemon, tmp_path):
    daemon.on("POST", CHAT, sse_answer(*deltas("a\x1b]0;owned\x07\x9b", "b")))
    with conversation(daemon, tmp_path) as terminal:
        terminal.wait_for("> ")
        terminal.type("go\n")
        seen = terminal.wait_for("]0;owned\ufffd\ufffdb")
        assert "\x1b]0" not in seen and "\x07" not in seen
        leave(terminal)
