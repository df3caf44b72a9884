package ptxemu

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
)

// hints are modifiers of caching and of scope, which change nothing here.
var hints = []string{
	"weak", "cta", "cluster", "gpu", "sys", "ca", "cg", "cs", "lu", "cv", "wb", "wt",
	"L1::evict_normal", "L1::evict_unchanged", "L1::evict_first", "L1::evict_last", "L1::no_allocate",
	"L2::evict_normal", "L2::evict_first", "L2::evict_last", "L2::64B", "L2::128B", "L2::256B",
}

// memoryMods are the modifiers that loads, stores and atomics share.
type memoryMods struct {
	space  space
	strong bool
	nc     bool
	policy bool // an operand with a cache policy comes last
}

func (c *comp) memoryMods() (x memoryMods) {
	for _, m := range c.mods {
		if s, ok := spaces[m]; ok {
			x.space = s
			c.flag(m)
			break
		}
	}
	for c.oneOf(hints...) != "" {
	}
	x.strong = c.oneOf("volatile", "relaxed", "acquire", "release", "acq_rel") != ""
	x.nc = c.flag("nc")
	x.policy = c.flag("L2::cache_hint")
	return x
}

// access is a with whether the instruction is strong.
func (x memoryMods) access(a access) access {
	if x.strong {
		return a | accessStrong
	}
	return a
}

// where is the address operand i in the space of the instruction. Parameters of
// device functions lie in local memory.
func (c *comp) where(i int, x *memoryMods) place {
	p, v := c.mem(i)
	if x.space == spaceParam && v != nil && !v.kernel {
		x.space = spaceLocal
	}
	return p
}

func (c *comp) vectorLength() int {
	switch c.oneOf("v2", "v4", "v8") {
	case "v2":
		return 2
	case "v4":
		return 4
	case "v8":
		return 8
	}
	return 1
}

func opLd(c *comp) op {
	x := c.memoryMods()
	n := c.vectorLength()
	t := c.typ()
	if x.policy {
		c.want(3)
	} else {
		c.want(2)
	}
	size := n * t.bytes()
	if size > 32 {
		c.fail("%d bytes", size)
	}
	dst := make([]loadTarget, n)
	for i, a := range c.vector(0, n) {
		dst[i] = c.loadTarget(a, t)
	}
	from := c.where(1, &x)
	how := x.access(accessRead)
	if n == 1 {
		d := dst[0]
		return func(w *warp, m uint32) {
			for ; m != 0; m &= m - 1 {
				l := bits.TrailingZeros32(m)
				b := w.at(x.space, l, from.of(w, l), size, how, nil)
				if x.nc {
					w.constant(l, from.of(w, l))
				}
				w.r[d.row][l] = t.value(little(b)) & d.mask
			}
		}
	}
	el := t.bytes()
	return func(w *warp, m uint32) {
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			b := w.at(x.space, l, from.of(w, l), size, how, nil)
			if x.nc {
				w.constant(l, from.of(w, l))
			}
			for i, d := range dst {
				w.r[d.row][l] = t.value(little(b[i*el:(i+1)*el])) & d.mask
			}
		}
	}
}

// loadTarget is a register that a load fills: at least as wide as the value,
// which is extended to it.
type loadTarget struct {
	row  int
	mask uint64
}

func (c *comp) loadTarget(a operand, t typ) loadTarget {
	if a.kind == argReg && a.reg.typ.kind != kindPred && a.reg.typ.bits > t.bits {
		return loadTarget{c.row(a.reg), a.reg.typ.mask()}
	}
	return loadTarget{c.dstRow(a, t), t.mask()}
}

// constant fails if this launch wrote what ld.global.nc reads: the read-only
// cache may hold something older.
func (w *warp) constant(lane int, addr uint64) {
	r := w.region
	if addr-r.base < uint64(len(r.data)) && atomic.LoadUint32(&r.writer[(addr-r.base)/granule]) == w.blk.grid.number {
		w.fault(&Fault{Kind: Race, Address: addr, Detail: "ld.global.nc of memory that this launch wrote"}, 1<<lane)
	}
}

// little reads 1, 2, 4 or 8 bytes.
func little(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.LittleEndian.Uint16(b))
	case 4:
		return uint64(binary.LittleEndian.Uint32(b))
	}
	return binary.LittleEndian.Uint64(b)
}

func putLittle(b []byte, v uint64) {
	switch len(b) {
	case 1:
		b[0] = byte(v)
	case 2:
		binary.LittleEndian.PutUint16(b, uint16(v))
	case 4:
		binary.LittleEndian.PutUint32(b, uint32(v))
	default:
		binary.LittleEndian.PutUint64(b, v)
	}
}

func opSt(c *comp) op {
	x := c.memoryMods()
	n := c.vectorLength()
	t := c.typ()
	if x.policy {
		c.want(3)
	} else {
		c.want(2)
	}
	size, el := n*t.bytes(), t.bytes()
	if size > 32 {
		c.fail("%d bytes", size)
	}
	rows := make([]int, n)
	for i, a := range c.vector(1, n) {
		if a.kind == argReg && a.reg.typ.bits > t.bits {
			rows[i] = c.row(a.reg)
		} else {
			rows[i] = c.srcRow(a, t)
		}
	}
	to := c.where(0, &x)
	how := x.access(accessWrite)
	return func(w *warp, m uint32) {
		var buf [32]byte
		val := buf[:size]
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			for i, r := range rows {
				putLittle(val[i*el:(i+1)*el], w.r[r][l])
			}
			copy(w.at(x.space, l, to.of(w, l), size, how, val), val)
		}
	}
}

// opPrefetch checks nothing: a prefetch of a bad address does no harm.
func opPrefetch(c *comp) op {
	for c.oneOf("global", "local", "L1", "L2", "L2::evict_last", "L2::evict_normal") != "" {
	}
	c.flag("L2::128B")
	c.mem(0)
	return nothing
}

func nothing(*warp, uint32) {}

// opFence covers membar and fence, because blocks see each other's writes at
// once here, and discard and applypriority, which are hints.
func opFence(c *comp) op {
	for c.oneOf("sc", "acq_rel", "acquire", "release", "cta", "cluster", "gpu", "sys", "gl", "proxy", "alias", "async", "global", "L2", "L2::evict_normal", "shared::cta") != "" {
	}
	return nothing
}

// opCreatepolicy makes a cache policy, which nothing reads.
func opCreatepolicy(c *comp) op {
	c.mods = nil
	d := c.dst(0, types["b64"])
	return func(w *warp, m uint32) {
		for ; m != 0; m &= m - 1 {
			w.r[d][bits.TrailingZeros32(m)] = 0
		}
	}
}
