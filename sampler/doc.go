// Package sampler picks a token from a row of logits. It holds the parameters,
// what a backend needs late (Late, with each sequence's History), the random
// numbers (Philox4x32-10) and the reference algorithms (Pick, Logprobs). They run
// behind every backend's Sample; a backend may compute them in any way, but must
// give the tokens and log-probabilities that they give (testdata/vectors.json).
// The package is a leaf: it imports internal/num only.
//
// # Definition
//
// First the logits of some tokens are adjusted, each step giving a finite float32
// again (or the -Inf that was there before), held at the largest finite numbers:
//
//   - Bias. logit = round32(round(logit + bias)).
//   - Forbidden tokens get -Inf: those that would complete a bad word, its other
//     tokens being the end of the output, and, while the output has fewer than
//     MinTokens tokens, those that end the sequence.
//   - Penalties, for a token that the prompt or output has: x = logit; by
//     repetition, x = round(x / r) where x > 0, otherwise round(x · r); if it stands
//     c > 0 times in the output, x = round(x - round(frequency · c)), then
//     x = round(x - presence). logit = round32(x).
//
// The order of tokens is by descending logit, ties by the lowest ID; -0 and +0
// tie. Temperature 0 picks the first token of the order. Otherwise, for a row
// with largest logit top and temperature T:
//
//   - Temperature. k = round(1024·log2(e) / T), at most the largest finite
//     number; y = round(round(top - logit) · k) is how far a token lies below
//     the top, in 1/1024 of an octave. Its weight is an integer: 2^43 · 2^(-y/1024),
//     computed in float64 as function weight is written (its constants rounded
//     once), cut off at the binary point; 0 where y > 43·1024. The weight of the top is 2^43.
//   - Min-p drops the tokens with y > -round(num.Log(p) · round(1024·log2(e))), which
//     are those less likely than p times the likeliest.
//   - Top-k keeps the first k tokens of the order.
//   - Top-p. S is the sum of the kept weights. The shortest prefix of the order
//     whose weights sum to at least ceil(round(p · round(S))) stays; all, where
//     rounding puts that above S.
//   - Draw. K is the sum of the weights that are left (which renormalises), u
//     the 53-bit integer from Philox, r = floor(u · K / 2^53), exact. The token is
//     the first of the order for which the weights up to and including its own
//     sum to more than r.
//
// Log-probabilities are of the logits as the model gave them, before any of this.
// With S the sum of all weights at temperature 1, a token's is
// round(round(logit - top) - num.Log(round(S) · 2^-43)).
//
// round(·) is one rounding to float64, round32(·) to float32, nearest even.
//
// # Where the definition comes from
//
// The order is that of vLLM's V1 sampler (the list above its class Sampler in
// vllm/v1/sample/sampler.py): bad words, min_tokens, logit_bias, repetition,
// frequency, presence, temperature, min_p, top_k, top_p. Bias goes before what is
// forbidden here, which is the same: -Inf with a bias is -Inf. As there, bad words
// are looked for in the output, not in the prompt, and log-probabilities are its
// default raw_logprobs. The repetition penalty is that of N. S. Keskar et al., "CTRL",
// 2019, as Hugging Face's RepetitionPenaltyLogitsProcessor applies it, once a
// token; frequency and presence are those of OpenAI's API reference.
//
// # Why weights are integers
//
// A sum of floats depends on its order, and the only order that is the same for a
// loop, sixteen lanes and a GPU's blocks is a slow one. Integer sums are exact,
// so that every backend may add by buckets, lanes or atomics and still reach
// the same r and the same token. The error of a weight is below 2^-43 of the
// top's plus 2^-48 of itself; a token less likely than 2^-43 of the top is never drawn.
//
// # Why a row is copied
//
// Adjusting in place, and restoring, would touch the changed logits only. But a row
// may be read by several at once (the n choices of a prompt share its last row) and
// is then what log-probabilities and checks are taken from; it may lie where a
// device still owns it. The copy is a small part of what greedy picking costs and
// is made only for rows that change.
package sampler
