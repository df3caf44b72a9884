package cuda

import (
	"math"
	"testing"

	"github.com/holdfast-run/holdfast/internal/num"
)

func TestNorm(t *testing.T) {
	for _, c := range []struct {
		rows, dim int
		delta     string // type of what is added first
		sum       bool   // the result is added to something
	}{{1, 4, "", true}, {3, 1028, "f32", true}, {2, 2048, "bf16", false}, {5, 576, "", false}} {
		g, rng := newGPU(t), newRand(uint64(c.dim))
		x, w := normals(rng, c.rows*c.dim, 3), normals(rng, c.dim, 1)
		d := normals(rng, c.rows*c.dim, 2)
		p := &NormParams{X: put(g, x), Weight: put(g, w), Rows: uint32(c.rows), Dim: uint32(c.dim), Eps: 0.25}
		p.Out, p.Out32 = room[uint16](g, len(x)), room[float32](g, len(x))
		kernel := "norm_f32"
		sum := normals(rng, len(x), 5)
		if c.sum {
			p.Sum = put(g, sum)
		}
		switch c.delta {
		case "f32":
			p.Delta = put(g, d)
		case "bf16":
			p.Delta, kernel = put(g, asBF16.round(d)), "norm_bf16"
		default:
			clear(d)
		}
		g.run(kernel, p)
		want := make([]float64, len(x))
		for r := range c.rows {
			ss := 0.0
			for i := r * c.dim; i < (r+1)*c.dim; i++ {
				x[i] += d[i]
				ss += float64(x[i]) * float64(x[i])
			}
			for i := r * c.dim; i < (r+1)*c.dim; i++ {
				want[i] = float64(x[i]) / math.Sqrt(ss/float64(c.dim)+0.25) * float64(w[i%c.dim])
			}
		}
		same(t, "residual stream", get[float32](g, p.X, len(x)), x)
		near(t, "f32", get[float32](g, p.Out32, len(x)), want, 0, 1e-6)
		near(t, "bf16", asBF16.values(get[uint16](g, p.Out, len(x))), want, 0, asBF16.ulp)
		if !c.sum {
			continue
		}
		for i := range want {
			want[i] += float64(sum[i])
		}
		near(t, "sum", get[float32](g, p.Sum, len(x)), want, 1e-5, 1e-6)
	}
}

func TestGates(t *testing.T) {
	silu := func(x float64) float64 { return x / (1 + math.Exp(-x)) }
	gelu := func(x float64) float64 {
		return x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
	}
	const rows, dim, stride = 3, 1100, 2304
	for kernel, f := range map[string]func(float64) float64{
		"silu_gate_f32": silu, "silu_gate_bf16": silu, "gelu_gate_f32": gelu, "gelu_gate_bf16": gelu,
	} {
		g := newGPU(t)
		x := normals(newRand(1), rows*stride, 4) // gate and up side by side
		copy(x, []float32{0, -0.0, 50, -50, 1e4, -1e4, 1e-30})
		p := &GateParams{Rows: rows, Dim: dim, Stride: stride, Out: room[uint16](g, rows*dim)}
		if kernel[len(kernel)-3:] == "f32" {
			p.Gate = put(g, x)
			p.Up = p.Gate + 4*dim
		} else {
			p.Gate = put(g, asBF16.round(x))
			p.Up = p.Gate + 2*dim
		}
		g.run(kernel, p)
		want := make([]float64, rows*dim)
		for i := range want {
			at := i/dim*stride + i%dim
			want[i] = f(float64(x[at])) * float64(x[at+dim])
		}
		near(t, kernel, asBF16.values(get[uint16](g, p.Out, rows*dim)), want, 1e-9, asBF16.ulp)
	}
}

func TestSoftCap(t *testing.T) {
	const rows, dim, stride, limit = 2, 259, 260, 30.
	g := newGPU(t)
	x := normals(newRand(1), rows*stride, 40)
	copy(x, []float32{0, 1e-3, -1e-3, 1e30, -1e30, float32(math.Inf(1)), float32(math.Inf(-1))})
	p := &SoftCapParams{X: put(g, x), Rows: rows, Dim: dim, Stride: stride, Cap: limit}
	g.run("soft_cap_f32", p)
	want := make([]float64, len(x))
	for i, v := range x {
		if want[i] = limit * math.Tanh(float64(v)/limit); i%stride >= dim { // the filling is left alone
			want[i] = float64(v)
		}
	}
	near(t, "soft cap", get[float32](g, p.X, len(x)), want, 1e-5, 1e-6)
	nan := put(g, []float32{float32(math.NaN())})
	g.run("soft_cap_f32", &SoftCapParams{X: nan, Rows: 1, Dim: 1, Stride: 1, Cap: limit})
	if v := get[float32](g, nan, 1)[0]; v == v {
		t.Errorf("a NaN became %v", v)
	}
}

// cache is a pool of KV blocks with more than one layer, block extents apart.
type cache struct {
	half
	blocks, layers, layer, kvHeads, headDim int
}

func (c cache) stride() int { return c.layers*2*c.kvHeads*32*c.headDim + 64 }

func (c cache) size() int { return c.blocks * c.stride() }

// at returns where the vector of a slot's head lies; v is 1 for values.
func (c cache) at(slot, head, v int) int {
	return slot/32*c.stride() + ((c.layer*2+v)*c.kvHeads+head)*32*c.headDim + slot%32*c.headDim
}

func (c cache) layerOffset() uint64 { return uint64(c.layer * 2 * c.kvHeads * 32 * c.headDim) }

func TestRoPE(t *testing.T) {
	for _, c := range []struct {
		kernel         string
		cache          half
		heads, kv, dim int
		pairs          int
		interleaved    uint32
		magnitude      float64
		norm           bool // of each head
	}{
		{"rope_f32_f16", asF16, 4, 2, 64, 32, 0, 1, true},
		{"rope_f32_bf16", asBF16, 3, 1, 128, 64, 1, 1.25, false},
		{"rope_bf16_f16", asF16, 2, 2, 128, 32, 0, 0.5, true}, // half of the head is turned
		{"rope_bf16_bf16", asBF16, 9, 2, 256, 128, 0, 1, true},
		{"rope_f32_f16", asF16, 2, 1, 64, 16, 1, 1, true},
	} {
		g, rng := newGPU(t), newRand(uint64(c.dim))
		g.arch = Archs[c.pairs/32%2]
		kv := cache{c.cache, 4, 2, 1, c.kv, c.dim}
		positions, slots := []int32{0, 1, -1, 255, 70001}, []int32{32, 127, -1, 0, 65}
		tokens, width := len(positions), (c.heads+2*c.kv)*c.dim
		freqs := make([]float64, c.pairs)
		for i := range freqs {
			freqs[i] = math.Pow(10000, -float64(i)/float64(c.pairs))
		}
		fine, coarse := RoPETables(freqs, c.magnitude, 70002)
		x := normals(rng, tokens*(width+4), 1)
		p := &RoPEParams{
			Q: room[uint16](g, tokens*c.heads*c.dim), Pool: put(g, make([]uint16, kv.size())), Positions: put(g, positions), Slots: put(g, slots),
			Fine: put(g, fine), Coarse: put(g, coarse), BlockStride: uint64(kv.stride()), Layer: kv.layerOffset(), Tokens: uint32(tokens),
			Stride: uint32(width + 4), Heads: uint32(c.heads), KVHeads: uint32(c.kv), HeadDim: uint32(c.dim), Pairs: uint32(c.pairs), Interleaved: c.interleaved,
		}
		if c.kernel[5] == 'f' {
			p.QKV = put(g, x)
		} else {
			p.QKV = put(g, asBF16.round(x))
		}
		const eps = 0.25
		weights := [2][]float32{normals(rng, c.dim, 1), normals(rng, c.dim, 1)} // of queries, keys
		if c.norm {
			p.QNorm, p.KNorm, p.Eps = put(g, weights[0]), put(g, weights[1]), eps
		}
		g.run(c.kernel, p)

		q := kv.values(get[uint16](g, p.Q, tokens*c.heads*c.dim))
		pool := kv.values(get[uint16](g, p.Pool, kv.size()))
		written := 0
		for i, pos := range positions {
			if pos < 0 {
				continue
			}
			for h := range c.heads + 2*c.kv {
				head := doubles(x[i*(width+4)+h*c.dim:][:c.dim])
				if h < c.heads+c.kv {
					if c.norm {
						normHead(head, weights[min(h/c.heads, 1)], eps)
					}
					turn(head, freqs, c.magnitude, float64(pos), c.interleaved == 1)
				}
				want := head
				var got []float32
				if h < c.heads {
					got = q[(i*c.heads+h)*c.dim:][:c.dim]
				} else {
					v := (h - c.heads) / c.kv
					got = pool[kv.at(int(slots[i]), (h-c.heads)%c.kv, v):][:c.dim]
					written += c.dim
				}
				near(t, name(c.kernel, " token ", i, " head ", h), got, want, 1e-6, kv.ulp)
			}
		}
		for _, v := range pool {
			if v != 0 {
				written--
			}
		}
		if written != 0 {
			t.Errorf("%s: wrote %d values of the pool that it should not", c.kernel, -written)
		}
	}
}

func doubles(x []float32) []float64 {
	y := make([]float64, len(x))
	for i := range x {
		y[i] = float64(x[i])
	}
	return y
}

// normHead is RMS normalisation of one head, in place.
func normHead(x []float64, weight []float32, eps float64) {
	squares := 0.0
	for _, v := range x {
		squares += v * v
	}
	for i := range x {
		x[i] *= float64(weight[i]) / math.Sqrt(squares/float64(len(x))+eps)
	}
}

// turn is RoPE of one head, in place.
func turn(x []float64, freqs []float64, magnitude, pos float64, interleaved bool) {
	for i, f := range freqs {
		a, b := i, i+len(freqs)
		if interleaved {
			a, b = 2*i, 2*i+1
		}
		s, c := magnitude*num.Sin(pos*f), magnitude*num.Cos(pos*f)
		x[a], x[b] = x[a]*c-x[b]*s, x[b]*c+x[a]*s
	}
}

func TestCopyBlocks(t *testing.T) {
	const bytes, blocks = 16*1024 + 48, 3
	g, rng := newGPU(t), newRand(1)
	data := make([]byte, bytes*blocks)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	from, to := put(g, data), room[byte](g, bytes*blocks)
	p := &CopyParams{
		Src: put(g, []uint64{uint64(from + 2*bytes), uint64(from)}),
		Dst: put(g, []uint64{uint64(to), uint64(to + bytes)}), Bytes: bytes, Count: 2,
	}
	g.run("copy_blocks", p)
	got := get[byte](g, to, len(data))
	same(t, "first", got[:bytes], data[2*bytes:])
	same(t, "second", got[bytes:2*bytes], data[:bytes])
	for _, b := range got[2*bytes:] {
		if b != 0xcd {
			t.Fatal("wrote behind the pieces")
		}
	}
}
