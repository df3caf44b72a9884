package num

import (
	"math"
	"testing"
)

// remez returns the coefficients c[k] … c[6] that, with c[0] … c[k-1] as given,
// minimise the largest relative error of the polynomial against 2^f on
// [-1/2, 1/2]. It writes them into c.
func remez(c *[7]float64, k int) {
	n := 7 - k + 1 // unknowns: 7-k coefficients and the error
	xs := make([]float64, n)
	for i := range xs {
		xs[i] = -0.5 * math.Cos(math.Pi*float64(i)/float64(n-1))
		if math.Abs(xs[i]) < 1e-3 { // the error is 0 at f = 0
			xs[i] = 0.05
		}
	}
	relErr := func(x float64) float64 {
		s := 0.0
		for j := 6; j >= 0; j-- {
			s = float64(s*x) + c[j]
		}
		return s/math.Exp2(x) - 1
	}
	for range 60 {
		a := make([][]float64, n)
		for i, x := range xs {
			w := math.Exp2(x)
			row := make([]float64, n+1)
			for j := k; j < 7; j++ {
				row[j-k] = math.Pow(x, float64(j)) / w
			}
			row[n-1] = float64(1 - 2*(i&1))
			row[n] = 1
			for j := 0; j < k; j++ {
				row[n] -= float64(c[j] * math.Pow(x, float64(j)) / w)
			}
			a[i] = row
		}
		copy(c[k:], solve(a)[:n-1])
		const grid = 20000
		var top []float64 // places of the extrema, alternating in sign
		for i := range grid + 1 {
			x := -0.5 + float64(i)/grid
			last := len(top) - 1
			switch v := relErr(x); {
			case last < 0 || (relErr(top[last]) > 0) != (v > 0):
				top = append(top, x)
			case math.Abs(v) > math.Abs(relErr(top[last])):
				top[last] = x
			}
		}
		for len(top) > n {
			if math.Abs(relErr(top[0])) < math.Abs(relErr(top[len(top)-1])) {
				top = top[1:]
			} else {
				top = top[:len(top)-1]
			}
		}
		if len(top) < n {
			return
		}
		copy(xs, top)
	}
}

// solve solves the linear system whose rows are a, the right side last.
func solve(a [][]float64) []float64 {
	n := len(a)
	for i := range n {
		p := i
		for r := i; r < n; r++ {
			if math.Abs(a[r][i]) > math.Abs(a[p][i]) {
				p = r
			}
		}
		a[i], a[p] = a[p], a[i]
		for r := i + 1; r < n; r++ {
			f := a[r][i] / a[i][i]
			for c := i; c <= n; c++ {
				a[r][c] -= float64(f * a[i][c])
			}
		}
	}
	x := make([]float64, n)
	for i := n - 1; i >= 0; i-- {
		s := a[i][n]
		for c := i + 1; c < n; c++ {
			s -= float64(a[i][c] * x[c])
		}
		x[i] = s / a[i][i]
	}
	return x
}

func TestExp2Coefficients(t *testing.T) {
	c := [7]float64{1}
	for k := 1; k < 7; k++ {
		remez(&c, k)
		c[k] = float64(float32(c[k]))
	}
	for i, v := range c {
		if float32(v) != Exp2Coefficients[i] {
			t.Errorf("c%d = %x, committed %x", i, float32(v), Exp2Coefficients[i])
		}
	}
}

func TestExp2f32Error(t *testing.T) {
	worst, at := 0.0, float32(0)
	for i := -1 << 23; i <= 1<<23; i += 7 {
		x := float32(i) / (1 << 24)
		got, want := Exp2f32(x), math.Exp2(float64(x))
		if e := math.Abs(float64(got)/want - 1); e > worst {
			worst, at = e, x
		}
		if x > 0 && got < 1 || x < 0 && got > 1 {
			t.Fatalf("Exp2f32(%x) = %x is on the wrong side of 1", x, got)
		}
	}
	if worst > 6.8e-8 {
		t.Errorf("relative error %.3g at %x, stated 6.8e-8", worst, at)
	}
	t.Logf("largest relative error %.4g at %x", worst, at)
	for i := range 253*8 + 1 { // the exponent changes nothing but the scale
		x := float32(i)/8 - 126
		n := math.RoundToEven(float64(x))
		if got, want := float64(Exp2f32(x)), math.Ldexp(float64(Exp2f32(x-float32(n))), int(n)); got != want {
			t.Fatalf("Exp2f32(%v) = %v, want %v", x, got, want)
		}
	}
}

func TestExp2f32Special(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range []struct{ x, want float32 }{
		{0, 1}, {float32(math.Copysign(0, -1)), 1}, {1, 2}, {-126, 0x1p-126}, {127, 0x1p127}, {127.5, 0x1p127}, {inf, 0x1p127},
		{-126.00001, 0}, {-1e30, 0}, {-inf, 0}, {math.SmallestNonzeroFloat32, 1},
	} {
		if got := Exp2f32(c.x); math.Float32bits(got) != math.Float32bits(c.want) {
			t.Errorf("Exp2f32(%v) = %v, want %v", c.x, got, c.want)
		}
	}
	if got := Exp2f32(float32(math.NaN())); got == got {
		t.Errorf("Exp2f32(NaN) = %v", got)
	}
	if float32(math.Log2E) != Log2E {
		t.Errorf("Log2E = %x", Log2E)
	}
}

func BenchmarkExp2f32(b *testing.B) {
	x := float32(0)
	for b.Loop() {
		Exp2f32(x)
		x -= 0.01
	}
}
