package graph

// Op is an operation of the graph: one of the structs below.
type Op interface {
	// tensors lists the weights that the operation reads.
	tensors() []Tensor
}

// Embed looks up each token's row of Table, [vocab, dim].
type Embed struct{ Table Tensor }

// Norm is RMS normalisation: x / sqrt(mean(x²) + Eps) · Weight, of each run of as
// many elements as Weight has: the whole row, or each head.
type Norm struct {
	Weight Tensor
	Eps    float32
}

// Linear is x · Weightᵀ + Bias; Weight is [out, in]. Bias is optional: its
// name is then empty.
type Linear struct {
	Weight Tensor
	Bias   Tensor
}

// RoPE turns pairs of each head's first 2·len(Freqs) elements by
// position · Freqs[i] radians, and multiplies them by Magnitude. Scalings are
// already in both.
type RoPE struct {
	Heads       int
	HeadDim     int
	Interleaved bool      // pairs are (2i, 2i+1), else (i, i+len(Freqs))
	Freqs       []float64 // radians per position
	Magnitude   float64
}

// StoreKV writes the step's keys and values into Layer of the cache. Its value
// is that layer.
type StoreKV struct{ Layer int }

// Attention reads a layer of the cache: softmax(Scale · q·kᵀ) · v over the
// positions up to the token's own, as far back as the layer's window. Query heads
// share KV heads in groups. With a Cap, the scaled scores are soft-capped first.
type Attention struct {
	Heads   int
	HeadDim int
	Scale   float64
	Cap     float64 // 0: none
}

// SiLUGate is silu(gate) · up, with silu(x) = x / (1 + e^-x).
type SiLUGate struct{}

// GELUGate is gelu(gate) · up, with gelu(x) = x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³))).
type GELUGate struct{}

// Add is the sum of two values: the residual stream.
type Add struct{}

// Scale is x · By.
type Scale struct{ By float32 }

// SoftCap is Cap · tanh(x / Cap).
type SoftCap struct{ Cap float64 }

// Slice is the elements of a row from From on, as many as the type says.
type Slice struct{ From int }

// Gather keeps the rows of the positions that need logits.
type Gather struct{}

func (o Embed) tensors() []Tensor   { return []Tensor{o.Table} }
func (o Norm) tensors() []Tensor    { return []Tensor{o.Weight} }
func (o Linear) tensors() []Tensor  { return []Tensor{o.Weight, o.Bias} }
func (RoPE) tensors() []Tensor      { return nil }
func (StoreKV) tensors() []Tensor   { return nil }
func (Attention) tensors() []Tensor { return nil }
func (SiLUGate) tensors() []Tensor  { return nil }
func (GELUGate) tensors() []Tensor  { return nil }
func (Add) tensors() []Tensor       { return nil }
func (Scale) tensors() []Tensor     { return nil }
func (SoftCap) tensors() []Tensor   { return nil }
func (Slice) tensors() []Tensor     { return nil }
func (Gather) tensors() []Tensor    { return nil }

// Embed adds a token embedding: table is [vocab, dim].
func (b *Builder) Embed(table string, vocab, dim int) Value {
	if vocab <= 0 || dim <= 0 {
		return b.fail("%s: bad shape [%d, %d]", table, vocab, dim)
	}
	return b.add(Embed{Tensor{table, []int{vocab, dim}}}, Type{PerToken, dim})
}

// Norm adds an RMS norm of x with the given weight.
func (b *Builder) Norm(x Value, weight string, eps float32) Value {
	t := b.typeOf(x)
	return b.add(Norm{Tensor{weight, []int{t.Dim}}, eps}, t, x)
}

// HeadNorm adds an RMS norm of each head of x, with the same weight for all.
func (b *Builder) HeadNorm(x Value, weight string, headDim int, eps float32) Value {
	t := b.typeOf(x)
	if b.err == nil && (headDim <= 0 || t.Dim%headDim != 0) {
		return b.fail("%s: heads of %d in a value of %d", weight, headDim, t.Dim)
	}
	return b.add(Norm{Tensor{weight, []int{headDim}}, eps}, t, x)
}

// Linear adds a projection of x to out elements. bias is a tensor's name, or
// empty.
func (b *Builder) Linear(x Value, weight string, out int, bias string) Value {
	t := b.typeOf(x)
	if b.err == nil && (t.Dim <= 0 || out <= 0) {
		return b.fail("%s: bad shape [%d, %d]", weight, out, t.Dim)
	}
	op := Linear{Weight: Tensor{weight, []int{out, t.Dim}}}
	if bias != "" {
		op.Bias = Tensor{bias, []int{out}}
	}
	return b.add(op, Type{t.Rows, out}, x)
}

// RoPE adds a rotary position embedding of x.
func (b *Builder) RoPE(x Value, op RoPE) Value {
	t := b.typeOf(x)
	if b.err == nil && (t.Dim != op.Heads*op.HeadDim || 2*len(op.Freqs) > op.HeadDim || !(op.Magnitude > 0)) {
		return b.fail("RoPE of %d heads of %d, %d pairs of magnitude %g, over a value of %d", op.Heads, op.HeadDim, len(op.Freqs), op.Magnitude, t.Dim)
	}
	return b.add(op, t, x)
}

// StoreKV adds a layer of the cache that holds k and v.
func (b *Builder) StoreKV(k, v Value, layer KVLayer) Value {
	if tk, tv := b.typeOf(k), b.typeOf(v); b.err == nil && (tk != tv || tk.Dim != layer.Heads*layer.HeadDim) {
		return b.fail("StoreKV of %d heads of %d over values of %d and %d", layer.Heads, layer.HeadDim, tk.Dim, tv.Dim)
	}
	if w := b.g.Window(); b.err == nil && (layer.Window < 0 || w > 0 && layer.Window > 0 && layer.Window != w) {
		return b.fail("StoreKV with a window of %d beside one of %d", layer.Window, w)
	}
	b.g.KV = append(b.g.KV, layer)
	return b.add(StoreKV{Layer: len(b.g.KV) - 1}, Type{Cache, 0}, k, v)
}

// Attention adds attention of q over the cache's layer kv.
func (b *Builder) Attention(q, kv Value, op Attention) Value {
	t := b.typeOf(q)
	if b.err != nil {
		return 0
	}
	store, ok := b.g.Nodes[kv].Op.(StoreKV)
	if !ok {
		return b.fail("attention needs a StoreKV")
	}
	layer := b.g.KV[store.Layer]
	if t.Dim != op.Heads*op.HeadDim || op.HeadDim != layer.HeadDim || op.Heads%layer.Heads != 0 || !(op.Cap >= 0) {
		return b.fail("attention of %d heads of %d over %d KV heads of %d, capped at %g", op.Heads, op.HeadDim, layer.Heads, layer.HeadDim, op.Cap)
	}
	return b.add(op, t, q, kv)
}

// SiLUGate adds silu(gate) · up.
func (b *Builder) SiLUGate(gate, up Value) Value { return b.pair(SiLUGate{}, gate, up) }

// GELUGate adds gelu(gate) · up.
func (b *Builder) GELUGate(gate, up Value) Value { return b.pair(GELUGate{}, gate, up) }

// Scale adds x · by.
func (b *Builder) Scale(x Value, by float32) Value { return b.add(Scale{by}, b.typeOf(x), x) }

// SoftCap adds a soft cap of x.
func (b *Builder) SoftCap(x Value, limit float64) Value {
	if b.err == nil && !(limit > 0) {
		return b.fail("soft cap of %g", limit)
	}
	return b.add(SoftCap{limit}, b.typeOf(x), x)
}

// Slice adds the elements [from, from+n) of each row of x.
func (b *Builder) Slice(x Value, from, n int) Value {
	t := b.typeOf(x)
	if b.err == nil && (from < 0 || n <= 0 || from+n > t.Dim) {
		return b.fail("elements [%d, %d) of a value of %d", from, from+n, t.Dim)
	}
	return b.add(Slice{from}, Type{t.Rows, n}, x)
}

// Add adds x + y.
func (b *Builder) Add(x, y Value) Value { return b.pair(Add{}, x, y) }

func (b *Builder) pair(op Op, x, y Value) Value {
	if tx, ty := b.typeOf(x), b.typeOf(y); b.err == nil && tx != ty {
		return b.fail("%T of unlike values: %d and %d wide", op, tx.Dim, ty.Dim)
	}
	return b.add(op, b.typeOf(x), x, y)
}

// Gather adds the choice of the rows that need logits.
func (b *Builder) Gather(x Value) Value {
	return b.add(Gather{}, Type{PerLogit, b.typeOf(x).Dim}, x)
}
