package cuda

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	kernels "github.com/holdfast-run/holdfast/kernels/cuda"
)

// granule is what the driver rounds an allocation to, at least.
const granule = 512

// region is one allocation on the device: what the plan counts and Compile makes.
type region struct {
	item  string
	bytes int
	at    *kernels.Ptr
}

// buffers are the addresses of what a step works on.
type buffers struct {
	role      [roles]kernels.Ptr
	partial   kernels.Ptr
	unpack    kernels.Ptr // weights as BF16, for a product of many rows
	workspace kernels.Ptr // of cuBLASLt
	pools     [device.PoolKinds]kernels.Ptr
	tables    [device.PoolKinds]kernels.Ptr
	input     kernels.Ptr
	octave    kernels.Ptr
	draws     kernels.Ptr
	top       kernels.Ptr
	counts    kernels.Ptr
	sums      kernels.Ptr
	tokens    kernels.Ptr
	sampled   kernels.Ptr

	changes, penalties kernels.Ptr
}

// maxChanges is how many changes of logits one launch takes.
const maxChanges = 16 << 10

// regions lists the memory of a program, to be bound to b.
func (d *design) regions(b *buffers, invariant bool) []region {
	o := d.opts
	var list []region
	add := func(item string, bytes int, at *kernels.Ptr) {
		if bytes > 0 {
			list = append(list, region{item, roundUp(bytes, granule), at})
		}
	}
	for _, m := range d.matrices {
		add(weightsItem(m), m.bytes, &m.at)
	}
	for _, v := range d.vectors {
		add("weights", 4*v.n(), &v.at)
	}
	for kind := range b.pools {
		add("KV cache", o.Blocks[kind]*d.blockBytes(device.PoolKind(kind)), &b.pools[kind])
		if o.Blocks[kind] > 0 {
			add("block tables", 4*o.MaxRows*o.MaxBlocks(), &b.tables[kind])
		}
	}
	for r := stream; r < roles; r++ {
		rows := o.MaxTokens
		switch r {
		case gathered, logits:
			rows = o.MaxRows
		case normed: // of tokens, or of rows of logits
			rows = max(o.MaxTokens, o.MaxRows)
		}
		add("activations", rows*d.width[r]*elemBytes[r], &b.role[r])
	}
	add("activations", 4*d.partial, &b.partial)
	if !invariant {
		add("activations", d.unpacked(), &b.unpack)
		add("activations", workspaceBytes, &b.workspace)
	}
	for _, t := range d.ropes {
		pairs := len(t.freqs)
		add("tables", 16*256*pairs, &t.fine)
		add("tables", 16*((o.ContextLength+255)/256)*pairs, &t.coarse)
	}
	add("tables", 8*1024, &b.octave)
	add("step", d.inputLayout().bytes, &b.input)
	n := o.MaxRows
	add("sampling", n*int(unsafe.Sizeof(kernels.Draw{})), &b.draws)
	add("sampling", n*4, &b.top)
	add("sampling", n*kernels.SampleBuckets*4, &b.counts)
	add("sampling", n*kernels.SampleBuckets*8, &b.sums)
	add("sampling", n*4, &b.tokens)
	add("sampling", n*4, &b.sampled)
	add("sampling", maxChanges*int(unsafe.Sizeof(kernels.Change{})), &b.changes)
	add("sampling", n*int(unsafe.Sizeof(kernels.Penalty{})), &b.penalties)
	return list
}

// weightsItem names a matrix in the plan: one that is not kept in its file's type says
// so.
func weightsItem(m *matrix) string {
	if m.native() {
		return "weights"
	}
	var types []string
	for _, p := range m.parts {
		if t := p.tensor.Type.String(); !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	return fmt.Sprintf("weights of %s, as %s", strings.Join(types, " and "), m.dtype)
}

// unpacked is the bytes of the largest quantised matrix as BF16.
func (d *design) unpacked() (most int) {
	for _, m := range d.matrices {
		if m.dtype != graph.BF16 {
			most = max(most, 2*m.n()*m.k())
		}
	}
	return most
}

// blockBytes is the size of a block: two bytes an element.
func (d *design) blockBytes(kind device.PoolKind) int { return 2 * d.block[kind] }

// plan sums regions by item, in the order of their first.
func plan(list []region) device.Plan {
	var p device.Plan
	for _, r := range list {
		i := slices.IndexFunc(p, func(it device.PlanItem) bool { return it.Name == r.item })
		if i < 0 {
			i = len(p)
			p = append(p, device.PlanItem{Name: r.item})
		}
		p[i].Bytes += int64(r.bytes)
	}
	slices.SortStableFunc(p, func(a, b device.PlanItem) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return p
}

// view returns the bytes of a parameter struct, which the driver copies at each
// launch.
func view[T any](p *T) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(p)), unsafe.Sizeof(*p)) }

// slice views page-locked memory as values, n of them from a byte on.
func slice[T any](b []byte, from, n int) []T {
	if n == 0 {
		return nil
	}
	var v T
	b = b[from : from+n*int(unsafe.Sizeof(v))]
	return unsafe.Slice((*T)(unsafe.Pointer(&b[0])), n)
}

// bytesOf views values as bytes.
func bytesOf[T any](v []T) []byte {
	if len(v) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), len(v)*int(unsafe.Sizeof(v[0])))
}

func devicePtr(p kernels.Ptr) cuda.DevicePtr { return cuda.DevicePtr(p) }
