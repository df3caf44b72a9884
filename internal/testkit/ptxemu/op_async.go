package ptxemu

import "math/bits"

// asyncQueue is the cp.async of a warp's lanes that have not been waited for.
// The bytes reach shared memory only at the wait; until then they read as not
// written.
type asyncQueue struct {
	copies []asyncCopy
	groups [32]uint32 // committed by each lane so far
}

type asyncCopy struct {
	group uint32
	lane  uint8
	size  uint8
	dst   uint64
	data  [16]byte
}

func (q *asyncQueue) reset() {
	q.copies = q.copies[:0]
	q.groups = [32]uint32{}
}

// opCp covers cp.async with its commit and wait; bulk copies are not supported.
func opCp(c *comp) op {
	if !c.flag("async") {
		c.fail("only cp.async is supported")
	}
	switch c.oneOf("commit_group", "wait_group", "wait_all", "ca", "cg") {
	case "commit_group":
		c.want(0)
		return func(w *warp, m uint32) {
			for ; m != 0; m &= m - 1 {
				w.async.groups[bits.TrailingZeros32(m)]++
			}
		}
	case "wait_group":
		c.want(1)
		n := c.arg(0)
		if n.kind != argImm {
			c.fail("the number of groups is no constant")
		}
		return func(w *warp, m uint32) { w.land(m, int64(n.imm)) }
	case "wait_all":
		c.want(0)
		return func(w *warp, m uint32) { w.land(m, -1) }
	case "ca":
		return c.asyncCopy(4, 8, 16)
	case "cg":
		return c.asyncCopy(16)
	}
	c.fail("unknown form")
	return nil
}

// land finishes the copies of lanes m but those in their last keep groups; -1
// is for all, committed or not.
func (w *warp) land(m uint32, keep int64) {
	q := &w.async
	left := q.copies[:0]
	for _, cp := range q.copies {
		l := int(cp.lane)
		if m>>l&1 != 0 && int64(cp.group) < int64(q.groups[l])-keep {
			w.blk.shared.finish(w, l, cp.dst, cp.data[:cp.size])
		} else {
			left = append(left, cp)
		}
	}
	q.copies = left
}

// asyncCopy: [shared], [global], size and, perhaps, the bytes to read (the rest
// is zeros) or a predicate to read none, and a cache policy.
func (c *comp) asyncCopy(sizes ...int) op {
	if c.oneOf("shared", "shared::cta") == "" || !c.flag("global") {
		c.fail("only from global to shared memory")
	}
	for c.oneOf(hints...) != "" {
	}
	policy := 0
	if c.flag("L2::cache_hint") {
		policy = 1
	}
	n := len(c.in.args) - policy
	if n < 3 || n > 4 || c.arg(2).kind != argImm {
		c.fail("wrong operands")
	}
	size := int(c.arg(2).imm)
	if size != sizes[len(sizes)-1] && (len(sizes) == 1 || size != 4 && size != 8) {
		c.fail("size %d", size)
	}
	dst, _ := c.mem(0)
	src, _ := c.mem(1)
	skip := condition{pred: predTrue, flip: allLanes}
	bytes := c.constant(uint64(size))
	if n == 4 {
		if a := c.arg(3); a.kind == argReg && a.reg.typ.kind == kindPred {
			skip = c.cond(3)
		} else {
			bytes = c.src(3, types["b32"])
		}
	}
	return func(w *warp, m uint32) {
		none := skip.mask(w)
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			n := int(uint32(w.r[bytes][l]))
			if none>>l&1 != 0 {
				n = 0
			}
			if n > size {
				w.fault(&Fault{Kind: Undefined, Detail: "cp.async reads more than it copies"}, 1<<l)
			}
			w.startCopy(l, dst.of(w, l), src.of(w, l), size, n)
		}
	}
}

// startCopy checks both ends of a cp.async and queues it. Only n bytes of the
// source are read, and must exist; its address must be aligned to size.
func (w *warp) startCopy(l int, dst, src uint64, size, n int) {
	cp := asyncCopy{group: w.async.groups[l], lane: uint8(l), size: uint8(size), dst: dst}
	w.at(spaceShared, l, dst, size, accessWrite, nil)
	if src&uint64(size-1) != 0 {
		w.at(spaceGlobal, l, src, size, accessRead, nil) // fails: misaligned
	}
	if n > 0 {
		copy(cp.data[:], w.global(l, src, n, accessRead))
	}
	w.blk.shared.begin(dst, size)
	w.async.copies = append(w.async.copies, cp)
}
