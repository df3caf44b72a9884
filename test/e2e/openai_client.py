"""The openai package against a running server: python openai_client.py BASE_URL MODEL

Nothing here is made for Holdfast; it is what the package's own documentation
shows. An assertion that fails, or an answer that the package does not
understand, ends the script with an error.
"""

import sys

import openai

base_url, model = sys.argv[1:]
client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=120)

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
try:
    client.models.retrieve("no-such-model")
except openai.NotFoundError as e:
    assert e.code == "model_not_found"
else:
    raise AssertionError("an unknown model was found")

print(f"openai {openai.__version__}: all calls did what they should")
