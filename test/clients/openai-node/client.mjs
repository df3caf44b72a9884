// The openai package against a running server: node client.mjs BASE_URL MODEL
//
// It is what the package's own documentation shows, and nothing made for
// Holdfast. A failing assertion ends it with an error.
import assert from "node:assert/strict";
import OpenAI from "openai";

const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, maxRetries: 0, timeout: 900_000 });
const messages = [{ role: "user", content: "Why is the sky blue?" }];
const greedy = { model, messages, temperature: 0, max_tokens: 16 };

const listed = [];
for await (const m of client.models.list()) listed.push(m.id);
assert.deepEqual(listed, [model]);
assert.equal((await client.models.retrieve(model)).id, model);

const { data: answer, response } = await client.chat.completions.create(greedy).withResponse();
assert.ok(response.headers.get("x-request-id"));
const text = answer.choices[0].message.content;
assert.equal(answer.choices[0].message.role, "assistant");
assert.ok(text.length > 0);
assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);

const pieces = [];
let usage;
for await (const chunk of await client.chat.completions.create({ ...greedy, stream: true, stream_options: { include_usage: true } })) {
  for (const choice of chunk.choices) pieces.push(choice.delta.content ?? "");
  usage = chunk.usage ?? usage;
}
assert.equal(pieces.join(""), text);
assert.equal(usage.completion_tokens, answer.usage.completion_tokens);

// The package's own accumulator of streams.
const runner = client.chat.completions.stream({ ...greedy, logprobs: true, top_logprobs: 2 });
const final = await runner.finalChatCompletion();
assert.equal(final.choices[0].message.content, text);
const content = final.choices[0].logprobs.content;
assert.equal(Buffer.from(content.flatMap((t) => t.bytes)).toString(), text);
for (const t of content) {
  assert.equal(t.top_logprobs.length, 2);
  assert.equal(t.top_logprobs[0].logprob, t.logprob);
}

const several = await client.chat.completions.create({ ...greedy, temperature: 1, seed: 3, n: 3 });
assert.deepEqual(several.choices.map((c) => c.index), [0, 1, 2]);
assert.ok(new Set(several.choices.map((c) => c.message.content)).size > 1);

const scored = await client.completions.create({ model, prompt: ["The sky is blue", "Ice is cold"], echo: true, logprobs: 1, max_tokens: 0 });
assert.deepEqual(scored.choices.map((c) => c.text), ["The sky is blue", "Ice is cold"]);
for (const c of scored.choices) {
  assert.equal(c.logprobs.token_logprobs[0], null);
  assert.equal(c.logprobs.tokens.length, c.logprobs.text_offset.length);
  assert.equal(c.logprobs.tokens.join(""), c.text);
}

// A client that leaves in the middle of a stream.
const controller = new AbortController();
await assert.rejects(async () => {
  const stream = await client.chat.completions.create({ model, messages, stream: true, ignore_eos: true, max_tokens: 400 }, { signal: controller.signal });
  for await (const _ of stream) controller.abort();
  controller.signal.throwIfAborted();
});

await assert.rejects(client.chat.completions.create({ ...greedy, temperature: -1 }), (e) => e instanceof OpenAI.BadRequestError && e.param === "temperature" && e.code === "invalid_value");
await assert.rejects(client.chat.completions.create({ ...greedy, model: "none" }), (e) => e instanceof OpenAI.NotFoundError && e.code === "model_not_found");
const stranger = new OpenAI({ baseURL, apiKey: "wrong", maxRetries: 0 });
await assert.rejects(stranger.models.list(), (e) => e instanceof OpenAI.AuthenticationError && e.code === "invalid_api_key");

console.log("openai for node: all calls did what they should");
