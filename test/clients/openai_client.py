"""The openai package against a running server: python openai_client.py BASE_URL MODEL

Nothing here is made for Holdfast; it is what the package's own documentation
shows. An assertion that fails, or an answer that the package does not
understand, ends the script with an error.
"""

import sys

import openai

base_url, model = sys.argv[1:]
# The key is in OPENAI_API_KEY. Every answer must have the fields and types that
# the package documents.
client = openai.OpenAI(base_url=base_url, max_retries=0, timeout=900, _strict_response_validation=True)

listed = client.models.list()
assert [m.id for m in listed] == [model], listed
assert client.models.retrieve(model).id == model

messages = [
    {"role": "system", "content": "You answer in one sentence."},
    {"role": "user", "content": "Why is the sky blue?"},
]
answer = client.chat.completions.create(model=model, messages=messages, max_tokens=32, temperature=0)
text = answer.choices[0].message.content
assert answer.choices[0].message.role == "assistant" and text, answer
assert answer.choices[0].finish_reason in ("stop", "length"), answer
assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens, answer
assert 0 < answer.usage.completion_tokens <= 32, answer
print("answer:", text)

stream = client.chat.completions.create(
    model=model, messages=messages, max_tokens=32, temperature=0, stream=True, stream_options={"include_usage": True}
)
pieces, finish, usage = [], None, None
for chunk in stream:
    assert usage is None, "a chunk after the usage"
    usage = chunk.usage
    for choice in chunk.choices:
        pieces.append(choice.delta.content or "")
        finish = choice.finish_reason or finish
assert "".join(pieces) == text, (pieces, text)
assert finish == answer.choices[0].finish_reason
assert usage == answer.usage, (usage, answer.usage)

seeded = [
    client.chat.completions.create(model=model, messages=messages, max_completion_tokens=16, seed=7).choices[0].message.content
    for _ in range(2)
]
assert seeded[0] == seeded[1], seeded

# Raw answers carry the request's ID.
raw = client.chat.completions.with_raw_response.create(model=model, messages=messages, max_tokens=1)
assert raw.headers["x-request-id"], raw.headers
assert raw.parse().choices[0].finish_reason == "length"


# Several completions of one prompt, of one seed: alike when asked again, different among themselves.
several = [client.chat.completions.create(model=model, messages=messages, max_tokens=16, seed=7, n=3).choices for _ in range(2)]
assert [c.index for c in several[0]] == [0, 1, 2], several
texts = [[c.message.content for c in choices] for choices in several]
assert texts[0] == texts[1] and len(set(texts[0])) > 1, texts
streamed = ["", "", ""]
for chunk in client.chat.completions.create(model=model, messages=messages, max_tokens=16, seed=7, n=3, stream=True):
    for choice in chunk.choices:
        streamed[choice.index] += choice.delta.content or ""
assert streamed == texts[0], (streamed, texts)

# Log-probabilities of an answer's tokens, streamed or not.
request = {"model": model, "messages": messages, "max_tokens": 16, "temperature": 0, "logprobs": True, "top_logprobs": 3}
answer = client.chat.completions.create(**request)
content = answer.choices[0].logprobs.content
assert len(content) == answer.usage.completion_tokens or answer.choices[0].finish_reason == "stop", answer
assert b"".join(bytes(t.bytes) for t in content).decode() == answer.choices[0].message.content
for t in content:
    assert len(t.top_logprobs) == 3 and t.top_logprobs[0].logprob == t.logprob <= 0, t
    assert t.top_logprobs == sorted(t.top_logprobs, key=lambda x: -x.logprob), t
chunks = client.chat.completions.create(**request, stream=True)
assert [t for chunk in chunks for c in chunk.choices if c.logprobs for t in c.logprobs.content] == content

# The package's own accumulator of streams.
with client.chat.completions.stream(**request) as events:
    for _ in events:
        pass
    final = events.current_completion_snapshot
assert final.choices[0].message.content == answer.choices[0].message.content
assert [t.token for t in final.choices[0].logprobs.content] == [t.token for t in content]

# Completions, echoed and scored. The first token of a prompt has no probability
# but null, nor have pieces of a stream a reason; from OpenAI neither, which the
# package's schema does not know.
loose = openai.OpenAI(base_url=base_url, max_retries=0, timeout=900)
prompts = ["The sky is blue", "Grüße ☺ aus Köln"]
scored = loose.completions.create(model=model, prompt=prompts, max_tokens=4, temperature=0, n=2, best_of=2, echo=True, logprobs=5)
assert [c.index for c in scored.choices] == [0, 1, 2, 3]
for i, c in enumerate(scored.choices):
    lp = c.logprobs
    assert c.text.startswith(prompts[i // 2]), c
    assert len(lp.tokens) == len(lp.token_logprobs) == len(lp.top_logprobs) == len(lp.text_offset)
    assert lp.token_logprobs[0] is None and lp.top_logprobs[0] is None
    for token, p, top, at in zip(lp.tokens[1:], lp.token_logprobs[1:], lp.top_logprobs[1:], lp.text_offset[1:]):
        assert len(top) in (5, 6) and top[token] == p <= 0, (token, p, top)
        assert token.startswith("bytes:") or c.text[at:].startswith(token), (token, at, c.text)
only = loose.completions.create(model=model, prompt=prompts[0], max_tokens=0, echo=True, logprobs=5).choices[0]
assert only.text == prompts[0] and only.logprobs.token_logprobs == scored.choices[0].logprobs.token_logprobs[: len(only.logprobs.tokens)]
plain = client.completions.create(model=model, prompt=[[1, 2, 3], [4]], max_tokens=4, logprobs=0)
assert [len(c.logprobs.tokens) <= 4 for c in plain.choices] == [True, True], plain
parts = list(loose.completions.create(model=model, prompt=prompts[0], max_tokens=4, temperature=0, echo=True, stream=True))
assert "".join(c.text for part in parts for c in part.choices) == scored.choices[0].text

# vLLM's parameters travel in extra_body.
client.chat.completions.create(model=model, messages=messages, max_tokens=1, extra_body={"priority": 3, "top_k": 5, "ignore_eos": True})

# A durable session: new turns, or the whole conversation.
session = client.post("/sessions", cast_to=dict, body={})["id"]
turn = {"model": model, "temperature": 0, "max_tokens": 16, "extra_body": {"session_id": session}}
said = client.chat.completions.create(messages=messages, **turn)
assert said.session["id"] == session and said.session["head"] == "turn_1" and said.session["durable"] and said.session["exact"], said
asked = {"role": "user", "content": "And at night?"}
whole = [*messages, {"role": "assistant", "content": said.choices[0].message.content}, asked]
again = client.chat.completions.create(messages=whole, **turn)
fork = client.post(f"/sessions/{session}/fork", cast_to=dict, body={"turn": "turn_1"})["data"][0]["id"]
chunks = list(client.chat.completions.create(messages=[asked], stream=True, **turn | {"extra_body": {"session_id": fork}}))
assert "".join(c.choices[0].delta.content or "" for c in chunks) == again.choices[0].message.content, (chunks, again)
assert chunks[-1].session["head"] == "turn_2" and [c.sequence_number for c in chunks] == sorted({c.sequence_number for c in chunks})
try:
    client.chat.completions.create(messages=[asked], extra_headers={"If-Match": "turn_1"}, **turn)
except openai.ConflictError as e:
    assert e.code == "stale_head" and e.body["head"] == "turn_2", e.body
else:
    raise AssertionError("a stale head was accepted")


def fails(kind, code, **changes):
    request = {"model": model, "messages": messages} | changes
    try:
        client.chat.completions.create(**request)
    except kind as e:
        assert e.code == code, (e.code, code)
        assert e.message
        return e
    raise AssertionError(f"no {kind.__name__} for {changes}")


assert fails(openai.BadRequestError, "invalid_value", temperature=-1).param == "temperature"
assert fails(openai.BadRequestError, "unsupported_parameter", store=True).param == "store"
fails(openai.BadRequestError, "missing_required_parameter", messages=[])
fails(openai.BadRequestError, "context_length_exceeded", messages=[{"role": "user", "content": "word " * 50000}])
fails(openai.NotFoundError, "model_not_found", model="no-such-model")
assert fails(openai.BadRequestError, "invalid_value", n=1000).param == "n"
assert fails(openai.BadRequestError, "invalid_value", extra_body={"priority": -1}).param == "priority"
for key in ("wrong", client.api_key[:-1], client.api_key + "0"):
    try:
        openai.OpenAI(base_url=base_url, api_key=key, max_retries=0).models.list()
    except openai.AuthenticationError as e:
        assert e.code == "invalid_api_key"
    else:
        raise AssertionError(f"the key {key!r} is accepted")
try:
    client.models.retrieve("no-such-model")
except openai.NotFoundError as e:
    assert e.code == "model_not_found"
else:
    raise AssertionError("an unknown model was found")

print(f"openai {openai.__version__}: all calls did what they should")
