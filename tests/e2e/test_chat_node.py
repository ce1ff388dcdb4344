"""Chat through the official OpenAI Node SDK: node/chat.mjs prints what it saw."""

import pytest

from programs import CONTRACT
from test_completions_node import run_script

pytestmark = pytest.mark.skipif(CONTRACT.find("POST", "/v1/chat/completions") is None,
                                reason="openapi.yaml has no such route")

def test_node_talks(proxy, daemon, model):
    seen = run_script("chat.mjs", proxy, model)
    choice = seen["chat"]["choices"][0]
    body = {"model": model.stem, "messages": [{"role": "user", "content": "def add(a, b):"}],
            "max_completion_tokens": 12, "temperature": 0}
    answer = daemon.post("/v1/chat/completions", body)["choices"][0]["message"]
    assert choice["message"] == answer and answer["role"] == "assistant"
    assert len(choice["logprobs"]["content"]) == seen["chat"]["usage"]["completion_tokens"]
    streamed = seen["chatStreamed"]
    assert streamed["content"] == choice["message"]["content"]
    assert streamed["roles"] == ["assistant"]
    assert streamed["reasons"] == [choice["finish_reason"]]
    assert streamed["usage"]["total_tokens"] == seen["chat"]["usage"]["total_tokens"]
