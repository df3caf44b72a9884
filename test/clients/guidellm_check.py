"""A smoke run of guidellm against a running server: python guidellm_check.py URL MODEL DIR

Its benchmark sends chat completions of stated lengths, streaming, as many at a time as
it is told, and reads times and usage out of the events. All must be answered, each with
as many tokens as it asked for, and each with a first token later than its request. What
it writes goes into DIR. The key is in OPENAI_API_KEY.
"""

import json
import os
import pathlib
import subprocess
import sys

REQUESTS, STREAMS, TOKENS = 24, 4, 16

url, model, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]).absolute()
folder.mkdir(parents=True, exist_ok=True)
data, report = folder / "prompts.jsonl", folder / "report.json"
data.write_text(
    "".join(json.dumps({"prompt": f"Count from {i} to {i + 9}.", "output_tokens_count": TOKENS + i % 3}) + "\n" for i in range(REQUESTS))
)
report.unlink(missing_ok=True)
env = os.environ | {
    "GUIDELLM__OPENAI__API_KEY": os.environ["OPENAI_API_KEY"],
    "GUIDELLM__MAX_WORKER_PROCESSES": "2",
    "GUIDELLM__PREFERRED_ROUTE": "chat_completions",
    "HF_HOME": str(folder / "hf"),
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
args = f"--target {url} --model {model} --processor none --rate-type concurrent --rate {STREAMS} --max-requests {REQUESTS}".split()
subprocess.run(
    [sys.executable, "-m", "guidellm", "benchmark", "run", *args, "--data", data, "--output-path", report, "--disable-progress", "--disable-console-outputs"],
    env=env, check=True, timeout=600,
)

(run,) = json.loads(report.read_text())["benchmarks"]
made = run["run_stats"]["requests_made"]
assert made["successful"] == made["total"] == REQUESTS, made
done = run["requests"]["successful"]
assert len(done) == REQUESTS, len(done)
lengths = sorted(r["output_tokens"] for r in done)
assert lengths == sorted(TOKENS + i % 3 for i in range(REQUESTS)), lengths
for r in done:
    assert r["prompt_tokens"] > 10 and r["output"] and 0 < r["time_to_first_token_ms"] < 1000 * r["request_latency"], r
print(f"guidellm: {REQUESTS} requests, {sum(lengths)} tokens")
