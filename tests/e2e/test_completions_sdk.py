"""Completions through the OpenAI Python SDK; every exchange is held against the contract."""

import pytest

openai = pytest.importorskip("openai", reason="the OpenAI SDK cannot be installed here")

PROMPT = "def add(a, b):\n    return"


@pytest.fixture
def client(proxy):
    return openai.OpenAI(base_url=proxy.url + "/v1", api_key="none", max_retries=0, timeout=60)


@pytest.fixture
def name(daemon, model):
    assert model.stem in daemon.models()
    return model.stem


def create(client, name, prompt=PROMPT, **fields):
    body = {"model": name, "prompt": prompt, "max_tokens": 12} | fields
    return client.completions.create(**body)


def test_a_completion_has_text_reason_and_usage(client, name):
    answer = create(client, name, temperature=0)
    assert answer.id.startswith("cmpl-") and answer.model == name
    assert len(answer.choices) == 1
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert 0 < answer.usage.completion_tokens <= 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_default_is_sixteen_tokens(client, name):
    answer = client.completions.create(model=name, prompt=PROMPT, seed=3,
                                       extra_body={"ignore_eos": True})
    assert answer.usage.completion_tokens == 16
    assert answer.choices[0].finish_reason == "length"


def test_streaming_gives_the_same_text(client, name):
    whole = create(client, name, temperature=1, seed=11, max_tokens=24)
    chunks = list(create(client, name, temperature=1, seed=11, max_tokens=24, stream=True))
    assert "".join(c.choices[0].text for c in chunks) == whole.choices[0].text
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason]
    assert reasons == [whole.choices[0].finish_reason]
    assert len({c.id for c in chunks}) == 1 and len({c.created for c in chunks}) == 1
    assert all(c.usage is None for c in chunks)


def test_usage_is_one_last_chunk_when_asked_for(client, name):
    chunks = list(create(client, name, stream=True, seed=1, stream_options={"include_usage": True}))
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens > 0
    assert all(c.usage is None for c in chunks[:-1])


def test_seed_reproduces_and_seeds_differ(client, name):
    texts = [create(client, name, seed=seed, max_tokens=32, temperature=1).choices[0].text
             for seed in (5, 5, 6)]
    assert texts[0] == texts[1] != texts[2]


def test_n_choices_differ_and_are_reproducible(client, name):
    first = create(client, name, n=3, seed=9, max_tokens=24, temperature=1)
    again = create(client, name, n=3, seed=9, max_tokens=24, temperature=1)
    texts = [c.text for c in first.choices]
    assert [c.index for c in first.choices] == [0, 1, 2]
    assert len(set(texts)) > 1
    assert texts == [c.text for c in again.choices]
    streamed = {}
    for chunk in create(client, name, n=3, seed=9, max_tokens=24, temperature=1, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] = streamed.get(choice.index, "") + choice.text
    assert [streamed[i] for i in range(3)] == texts


def test_prompts_in_a_list_are_answered_in_order(client, name):
    prompts = ["import ", "class A:\n", "x = "]
    batch = create(client, name, prompt=prompts, n=2, seed=4, temperature=0)
    assert [c.index for c in batch.choices] == list(range(6))
    for i, prompt in enumerate(prompts):
        alone = create(client, name, prompt=prompt, seed=4, temperature=0)
        assert batch.choices[2 * i].text == batch.choices[2 * i + 1].text == alone.choices[0].text


def test_token_ids_are_a_prompt(client, name):
    answer = create(client, name, prompt=[5, 9, 12], temperature=0)
    assert answer.usage.prompt_tokens == 3
    both = create(client, name, prompt=[[5, 9, 12], [9]], temperature=0)
    assert both.choices[0].text == answer.choices[0].text
    assert both.usage.prompt_tokens == 4


def test_stop_text_ends_and_is_left_out(client, name):
    whole = create(client, name, temperature=0, max_tokens=24).choices[0].text
    assert len(whole) >= 3
    stop = whole[2:4]
    cut = create(client, name, temperature=0, max_tokens=24, stop=[stop, "\x00never"])
    assert cut.choices[0].text == whole[:whole.index(stop)]
    assert cut.choices[0].finish_reason == "stop"
    chunks = create(client, name, temperature=0, max_tokens=24, stop=stop, stream=True)
    assert "".join(c.choices[0].text for c in chunks) == cut.choices[0].text


def test_logprobs_are_four_lists_and_greedy_is_the_likeliest(client, name):
    answer = create(client, name, temperature=0, logprobs=3)
    logprobs = answer.choices[0].logprobs
    n = answer.usage.completion_tokens
    assert n == len(logprobs.tokens) == len(logprobs.token_logprobs)
    assert n == len(logprobs.top_logprobs) == len(logprobs.text_offset)
    for chosen, top in zip(logprobs.token_logprobs, logprobs.top_logprobs):
        assert 1 <= len(top) <= 3
        assert chosen == max(top.values()) and chosen <= 0
    zero = create(client, name, temperature=0, logprobs=0).choices[0].logprobs
    assert zero.token_logprobs == logprobs.token_logprobs
    assert all(len(top) == 1 for top in zero.top_logprobs)


def test_echo_scores_the_prompt(client, name):
    answer = create(client, name, temperature=0, max_tokens=4, echo=True, logprobs=2)
    assert answer.choices[0].text.startswith(PROMPT)
    logprobs = answer.choices[0].logprobs
    assert logprobs.token_logprobs[0] is None and logprobs.top_logprobs[0] is None
    assert all(value is not None for value in logprobs.token_logprobs[1:])
    assert len(logprobs.tokens) == answer.usage.total_tokens
    scored = create(client, name, temperature=0, max_tokens=0, echo=True, logprobs=2)
    n = scored.usage.prompt_tokens
    assert scored.usage.completion_tokens == 0
    assert scored.choices[0].text == PROMPT
    assert scored.choices[0].logprobs.token_logprobs == logprobs.token_logprobs[:n]


def test_suffix_fills_in_the_middle(client, name):
    if not client.models.retrieve(name).meta["fim"]:
        pytest.skip("this model has no fill-in-the-middle tokens")
    filled = create(client, name, suffix="\n\nprint(add(1, 2))\n", temperature=0)
    plain = create(client, name, temperature=0)
    assert filled.usage.prompt_tokens > plain.usage.prompt_tokens


def test_the_fields_that_sdk_suites_send_are_accepted(client, name):
    body = {"model": "string", "prompt": "This is a test.", "best_of": 0, "echo": True,
            "frequency_penalty": -2, "logit_bias": {"foo": 0}, "logprobs": 0, "max_tokens": 16,
            "n": 1, "presence_penalty": -2, "seed": -9007199254740991, "stop": "\n",
            "stream": False, "temperature": 1, "top_p": 1, "user": "user-1234",
            "stream_options": {"include_usage": True, "include_obfuscation": True}}
    answer = client.completions.create(**body)
    assert answer.choices[0].text.startswith("This is a test.")
    assert client.completions.create(**body, suffix="test.").choices


def test_unknown_fields_are_named_in_a_header(client, name):
    raw = client.completions.with_raw_response.create(
        model=name, prompt="x", max_tokens=1, extra_body={"frobnicate": 1})
    assert raw.headers["x-ignored-params"] == "frobnicate"
    assert raw.parse().choices


@pytest.mark.parametrize("change,param", [
    ({"temperature": 3}, "temperature"), ({"temperature": -0.1}, "temperature"),
    ({"top_p": 1.5}, "top_p"), ({"n": 0}, "n"), ({"n": 129}, "n"),
    ({"max_tokens": -1}, "max_tokens"), ({"logprobs": 21}, "logprobs"),
    ({"logprobs": -1}, "logprobs"),
    ({"presence_penalty": 2.5}, "presence_penalty"), ({"stop": 7}, "stop"), ({"seed": "x"}, "seed"),
    ({"stream": "yes"}, "stream"), ({"prompt": {"a": 1}}, "prompt"), ({"prompt": []}, "prompt"),
])
def test_wrong_values_are_bad_requests_that_name_the_field(client, name, change, param):
    with pytest.raises(openai.BadRequestError) as caught:
        create(client, name, **change)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
    assert param in caught.value.body["message"]


@pytest.mark.parametrize("prompt", [[-1], [10 ** 9], [5, 2 ** 40]])
def test_ids_outside_the_vocabulary_are_refused(client, name, prompt):
    with pytest.raises(openai.BadRequestError) as caught:
        create(client, name, prompt=prompt)
    assert caught.value.param.startswith("prompt")


def test_a_prompt_longer_than_the_context_is_refused(client, name, daemon):
    context = daemon.get("/v1/models")["data"][0]["max_model_len"]
    with pytest.raises(openai.BadRequestError) as caught:
        create(client, name, prompt=[5] * (context + 1))
    assert caught.value.code == "context_length_exceeded"
    assert str(context) in caught.value.body["message"]


def test_max_tokens_is_cut_to_the_context(client, name, daemon):
    context = daemon.get("/v1/models")["data"][0]["max_model_len"]
    answer = create(client, name, prompt=[5] * (context - 4), max_tokens=100000, seed=1,
                    extra_body={"ignore_eos": True})
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.total_tokens <= context


def test_models_are_listed_and_found(client, name):
    assert name in [m.id for m in client.models.list()]
    assert client.models.retrieve(name).id == name
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("no-such-model")
    assert "no-such-model" in caught.value.body["message"]
