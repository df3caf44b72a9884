// Package weights reads model files: metadata, tensors, quantised types.
//
// Open maps a model's files read-only and checks all of their structure before
// it returns, so a File that opened is consistent: every tensor lies in its file,
// overlaps no other, and holds as many bytes as its type and shape say. Nothing in
// a file can make the package panic, or allocate more than a small multiple of
// the file's size. It reads
//
//   - a GGUF file (version 2 or 3, little-endian; format: ggml-org/ggml,
//     docs/gguf.md), whole or in the parts that gguf-split writes;
//   - a folder with a config.json and safetensors (format: huggingface/safetensors,
//     README.md), one file or those that model.safetensors.index.json names.
//
// A File says what the files say. Package model knows the names and the layout
// that a graph wants, and has [File.Recast] and [File.Load] make them, which is
// also how weights are quantised at load.
//
// # Memory
//
// Tensor.Data aliases a mapping. It is read-only (a write faults) and valid
// until Close; whoever keeps tensors keeps the File open. Tensors that Load makes
// are anonymous memory instead, which nobody writes after Load. Everything else that
// the package hands out (names, metadata, shapes) is a copy on the Go heap and
// outlives the File. Pages are read from disk when first touched, and Drop gives
// them back once a tensor has been repacked.
//
// A model file must not be changed or cut short in place while it is open:
// touching a mapped page that the file no longer has ends the process (SIGBUS).
// Replace a model by renaming a new file over it, as scripts/model.py does.
//
// # Errors
//
// A malformed file gives a *FormatError that names file, key or tensor, and
// problem. errors.Is tells the three cases apart: ErrFormat (no valid file),
// ErrUnsupported (valid, but Holdfast cannot use it), ErrMissingKey (a caller
// asked for a key that is not there).
package weights
