// Package tokenizer turns text into token IDs and back, as the model's
// training tokenizer did: byte-level BPE read from GGUF metadata, with
// hand-written scanners in place of the pre-tokenizers' regular expressions.
//
//   - [Tokenizer] encodes. User text goes through [Tokenizer.Encode], which
//     never yields a special token; text of a template or an operator goes
//     through [Tokenizer.EncodeTemplate]; a mixture through
//     [Tokenizer.EncodeSpans].
//   - [Detokenizer] turns a stream of IDs into valid UTF-8, never half a rune.
//
// # Caveats
//
// A vocabulary may lack tokens for some bytes (SmolLM2 has none for U+0004).
// Such bytes are dropped, as the Hugging Face library and llama.cpp drop them;
// [Tokenizer.MissingBytes] lists them. All other bytes, valid UTF-8 or not,
// survive Encode and [Tokenizer.AppendPiece] unchanged.
//
// Qwen2's tokenizer.json normalises text to NFC first; GGUF files do not carry
// that, llama.cpp does not do it, and neither do we.
//
// The character classes are a table of this package, not of the Go release: a
// new toolchain does not change how text is split.
package tokenizer
