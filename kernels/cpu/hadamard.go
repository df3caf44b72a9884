package cpu

// hadamardValues is how many values are transformed together.
const hadamardValues = 32

// HadamardSquare is what a Hadamard transform of a Hadamard transform multiplies by.
const HadamardSquare = hadamardValues

// Hadamard replaces each 32 values of x, a multiple of that, by their Walsh-Hadamard
// transform: for h = 1, 2, 4, 8, 16, each pair of values i and i+h of which i has no
// bit h becomes its sum and its difference, rounded.
//
// What KV of Q8_0 holds is transformed: one large value among 32, as keys have, would
// leave few quants for the others.
func (k *Kernels) Hadamard(x []float32) {
	if len(x)%hadamardValues != 0 {
		panic("BUG: cpu: Hadamard: length is not a multiple of 32")
	}
	if len(x) > 0 {
		k.hadamard(x)
	}
}

func genericHadamard(x []float32) {
	for ; len(x) > 0; x = x[hadamardValues:] {
		for h := 1; h < hadamardValues; h *= 2 {
			for i := range hadamardValues {
				if i&h == 0 {
					x[i], x[i+h] = x[i]+x[i+h], x[i]-x[i+h]
				}
			}
		}
	}
}
