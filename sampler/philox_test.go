package sampler

import "testing"

// TestPhiloxKnownAnswers holds Philox to the vectors published with Random123
// (kat_vectors, "philox4x32 10").
func TestPhiloxKnownAnswers(t *testing.T) {
	const ones = 0xffffffff
	for _, c := range []struct {
		counter [4]uint32
		key     [2]uint32
		want    [4]uint32
	}{
		{[4]uint32{}, [2]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[4]uint32{ones, ones, ones, ones}, [2]uint32{ones, ones}, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{
			[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [2]uint32{0xa4093822, 0x299f31d0},
			[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
		},
	} {
		if got := Philox(c.counter, c.key); got != c.want {
			t.Errorf("Philox(%08x, %08x) = %08x, want %08x", c.counter, c.key, got, c.want)
		}
	}
}

func TestUniformRange(t *testing.T) {
	var sum float64
	const n = 100_000
	for i := range n {
		u := Uniform(5, uint64(i), 0)
		if !(u >= 0 && u < 1) || u*(1<<53) != float64(uniform53(5, uint64(i), 0, useDraw)) {
			t.Fatalf("Uniform(5, %d, 0) = %v", i, u)
		}
		sum += u
	}
	if mean := sum / n; mean < 0.497 || mean > 0.503 { // 3 sigma
		t.Errorf("the mean of %d draws is %v", n, mean)
	}
}
