"""lm-evaluation-harness against a running server: python lm_eval_check.py URL MODEL

Its local-completions model scores the requests of lm_eval_requests.jsonl: how
likely each continuation is after its context. The same is then asked token by
token, so that each log-probability comes from a step that decodes: the token is
forced by a bias, and reported without it. Both must agree within 1e-4 for each
request, and on whether the continuation is what the model would have said.

The package is lm_eval with [api]; its tokenizer is the server's own. The key is
in OPENAI_API_KEY.
"""

import concurrent.futures
import json
import os
import pathlib
import sys
import urllib.request

from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI

TOLERANCE = 1e-4

url, model = sys.argv[1:]
key = os.environ["OPENAI_API_KEY"]
requests = [json.loads(line) for line in (pathlib.Path(__file__).parent / "lm_eval_requests.jsonl").read_text().splitlines()]
assert len(requests) == 100, len(requests)

lm = LocalCompletionsAPI(
    base_url=url + "/v1/completions", model=model, tokenizer_backend="remote", auth_token=key, num_concurrent=4, max_retries=1, max_length=512
)
instances = [
    Instance(request_type="loglikelihood", doc={}, arguments=(r["context"], r["continuation"]), idx=i) for i, r in enumerate(requests)
]
scored = lm.loglikelihood(instances)


def post(path, body):
    headers = {"Content-Type": "application/json", "Authorization": "Bearer " + key}
    with urllib.request.urlopen(urllib.request.Request(url + path, json.dumps(body).encode(), headers), timeout=300) as answer:
        return json.load(answer)


def forced(context, continuation):
    """The sum of the continuation's log-probabilities, and whether each token is the likeliest."""
    total, greedy = 0.0, True
    for i, token in enumerate(continuation):
        body = {"model": model, "prompt": context + continuation[:i], "max_tokens": 1, "temperature": 0, "logprobs": 1}
        choice = post("/v1/completions", body | {"logit_bias": {str(token): 100}, "ignore_eos": True})["choices"][0]
        one = choice["logprobs"]
        (p,) = one["token_logprobs"]
        total += p
        greedy = greedy and p == max(one["top_logprobs"][0].values())
    return total, greedy


with concurrent.futures.ThreadPoolExecutor(4) as pool:
    pairs = [lm._encode_pair(r["context"], r["continuation"]) for r in requests]
    wanted = list(pool.map(lambda pair: forced(*pair), pairs))

worst = 0.0
for r, (got, got_greedy), (want, want_greedy) in zip(requests, scored, wanted):
    worst = max(worst, abs(got - want))
    assert abs(got - want) <= TOLERANCE, (r, got, want)
    assert got_greedy == want_greedy, (r, got_greedy, want_greedy)
assert len({round(p, 6) for p, _ in scored}) > 50, "most requests have the same score"
tokens = sum(len(c) for _, c in pairs)
print(f"lm_eval: {len(scored)} requests, {tokens} tokens, {sum(g for _, g in scored)} greedy, largest difference {worst:.2g}")
