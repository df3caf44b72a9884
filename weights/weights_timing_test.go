package weights

import "testing"

func BenchmarkOpen(b *testing.B) {
	openModel(b)
	b.ReportAllocs()
	for b.Loop() {
		f, err := Open(modelPath)
		if err != nil {
			b.Fatal(err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVocabulary decodes the 49152 tokens that Open has validated.
func BenchmarkVocabulary(b *testing.B) {
	m := openModel(b).Meta()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Strings("tokenizer.ggml.tokens"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDigest(b *testing.B) {
	f := openModel(b)
	b.SetBytes(f.Size())
	for b.Loop() {
		if _, err := f.parts[0].computeDigest(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDequantize counts bytes of values written.
func BenchmarkDequantize(b *testing.B) {
	for _, dtype := range floatTypes {
		src, want := golden(b, dtype)
		dst := make([]float32, len(want))
		b.Run(dtype.String(), func(b *testing.B) {
			b.SetBytes(int64(4 * len(dst)))
			for b.Loop() {
				if err := Dequantize(dtype, dst, src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
