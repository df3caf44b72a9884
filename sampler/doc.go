// Package sampler picks a token from a row of logits. It holds the parameters,
// what a backend needs late (Late), the random numbers (Philox4x32-10) and the
// reference algorithm (Pick). The algorithm runs behind every backend's Sample;
// a backend may compute it in any way, but must give the tokens that Pick gives
// (testdata/vectors.json). The package is a leaf: it imports internal/num only.
//
// # Definition
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
//   - Top-k keeps the first k tokens of the order.
//   - Top-p. S is the sum of the kept weights. The shortest prefix of the order
//     whose weights sum to at least ceil(round(p · round(S))) stays; all, where
//     rounding puts that above S.
//   - Draw. K is the sum of the weights that are left (which renormalises), u
//     the 53-bit integer from Philox, r = floor(u · K / 2^53), exact. The token is
//     the first of the order for which the weights up to and including its own
//     sum to more than r.
//
// round(·) is one rounding to float64, nearest even.
//
// # Why weights are integers
//
// A sum of floats depends on its order, and the only order that is the same for a
// loop, sixteen lanes and a GPU's blocks is a slow one. Integer sums are exact,
// so that every backend may add by buckets, lanes or atomics and still reach
// the same r and the same token. The error of a weight is below 2^-43 of the
// top's plus 2^-48 of itself; a token less likely than 2^-43 of the top is never drawn.
package sampler
