package num

import "testing"

func BenchmarkFloat64(b *testing.B) {
	var s splitMix = 9
	var in [1024]float64
	for i := range in {
		in[i] = s.between(0, 30)
	}
	for _, c := range []struct {
		name string
		f    func(float64) float64
	}{
		{"Exp", Exp}, {"Log", Log}, {"Sin", Sin}, {"Cos", Cos}, {"Tanh", Tanh},
		{"Pow", func(x float64) float64 { return Pow(500000, -x) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var sum float64
			i := 0
			for b.Loop() {
				sum += c.f(in[i&1023])
				i++
			}
			sink = sum
		})
	}
}

var sink float64
