// Package tokenizer turns text into token IDs and back, as the model's
// training tokenizer did: byte-level BPE, SentencePiece's BPE and unigram, and
// tiktoken's ranks, with hand-written scanners in place of the pre-tokenizers'
// regular expressions.
//
//   - [Tokenizer] encodes. User text goes through [Tokenizer.Encode], which
//     never yields a special token; text of a template or an operator goes
//     through [Tokenizer.EncodeTemplate]; a mixture through
//     [Tokenizer.EncodeSpans].
//   - [Detokenizer] turns a stream of IDs into valid UTF-8, never half a rune.
//   - [FromMetadata] loads from GGUF metadata, [FromJSON] from a
//     tokenizer.json, [FromSentencePiece] from a tokenizer.model,
//     [FromTiktoken] from a file of ranks. What a file has that we do not is an
//     error that names it.
//
// # Caveats
//
// A byte-level vocabulary may lack tokens for some bytes (SmolLM2 has none for
// U+0004). Such bytes are dropped, as the Hugging Face library and llama.cpp drop
// them; [Tokenizer.MissingBytes] lists them. All other bytes, valid UTF-8 or not,
// survive Encode and [Tokenizer.AppendPiece] unchanged. Vocabularies of runes
// spell a space as U+2581, so that rune comes back as a space, and some put a
// space before a text, which a [Detokenizer] leaves out where a text begins.
// SentencePiece replaces bytes that are not UTF-8 by U+FFFD; we keep them where
// the vocabulary has byte tokens.
//
// User-defined tokens of vocabularies of runes (Gemma's line breaks and HTML
// tags) are found in user text too, as SentencePiece and llama.cpp find them;
// control tokens never are. A special token that strips the whitespace beside it
// (Phi-3's) strips that of user text as well, as in the joined text.
//
// Qwen2's tokenizer.json normalises text to NFC first, and [FromJSON] does;
// GGUF files do not carry that, llama.cpp does not do it, and neither does
// [FromMetadata]. SentencePiece models with a character map (nmt_nfkc) are refused.
//
// A call remembers the words that it has seen ([Tokenizer] keeps a table of 256
// KiB for each call that was under way at once, until the collector takes it), and
// nothing of other calls.
//
// The character classes are a table of this package, not of the Go release: a
// new toolchain does not change how text is split.
package tokenizer
