package ptxemu

import "math/bits"

// members makes the instruction wait for the lanes of the mask in operand i.
func (c *comp) members(i int) int {
	row := c.src(i, types["b32"])
	c.inst.kind, c.inst.needs, c.inst.row = instSync, needMembers, int32(row)
	return row
}

// together makes the instruction wait for all 32 lanes.
func (c *comp) together() {
	if !c.flag("sync") || !c.flag("aligned") {
		c.fail("neither .sync nor .aligned")
	}
	c.inst.kind, c.inst.needs = instSync, needFull
}

// strange is what a lane gets from one that does not take part.
const strange = 0xcdcdcdcd

func opShfl(c *comp) op {
	if !c.flag("sync") {
		c.fail("only .sync is supported")
	}
	c.want(5)
	mode := c.oneOf("up", "down", "bfly", "idx")
	t := c.typ()
	to, p := c.pair(0)
	d, a, b, clamp := c.dstRow(to, t), c.src(1, t), c.src(2, t), c.src(3, t)
	c.members(4)
	return func(w *warp, m uint32) {
		from := w.r[a]
		var valid uint32
		for rest := m; rest != 0; rest &= rest - 1 {
			l := bits.TrailingZeros32(rest)
			j, ok := shuffle(mode, l, int(w.r[b][l]&31), int(w.r[clamp][l]))
			if ok {
				valid |= 1 << l
			} else {
				j = l
			}
			if m>>j&1 == 0 {
				w.r[d][l] = strange
			} else {
				w.r[d][l] = from[j]
			}
		}
		w.p[p] = w.p[p]&^m | valid
	}
}

// shuffle is the lane that lane l reads, and whether it is in range.
func shuffle(mode string, l, b, c int) (int, bool) {
	segment := c >> 8 & 31
	clamp := c & 31
	last := l&segment | clamp&^segment
	first := l & segment
	switch mode {
	case "up":
		return l - b, l-b >= last
	case "down":
		return l + b, l+b <= last
	case "bfly":
		return l ^ b, l^b <= last
	}
	j := first | b&^segment
	return j, j <= last
}

func opVote(c *comp) op {
	if !c.flag("sync") {
		c.fail("only .sync is supported")
	}
	c.want(3)
	mode := c.oneOf("all", "any", "uni", "ballot")
	t := c.typ()
	p := c.cond(1)
	c.members(2)
	if mode == "ballot" {
		d := c.dst(0, t)
		return func(w *warp, m uint32) {
			v := uint64(p.mask(w) & m)
			for ; m != 0; m &= m - 1 {
				w.r[d][bits.TrailingZeros32(m)] = v
			}
		}
	}
	d := c.pdst(c.arg(0))
	return func(w *warp, m uint32) {
		v := p.mask(w) & m
		w.p[d] &^= m
		if mode == "all" && v == m || mode == "any" && v != 0 || mode == "uni" && (v == m || v == 0) {
			w.p[d] |= m
		}
	}
}

// opMatch finds the lanes with the same value: all of them or, with .all, all
// or none.
func opMatch(c *comp) op {
	all := c.oneOf("any", "all") == "all"
	if !c.flag("sync") {
		c.fail("no .sync")
	}
	c.want(3)
	t := c.typ()
	to, p := c.pair(0)
	d, a := c.dstRow(to, types["b32"]), c.src(1, t)
	c.members(2)
	return func(w *warp, m uint32) {
		from := w.r[a]
		var agree uint32
		for rest := m; rest != 0; rest &= rest - 1 {
			l := bits.TrailingZeros32(rest)
			var same uint32
			for k := range 32 {
				if m>>k&1 != 0 && from[k] == from[l] {
					same |= 1 << k
				}
			}
			if same == m {
				agree |= 1 << l
			} else if all {
				same = 0
			}
			w.r[d][l] = uint64(same)
		}
		w.p[p] = w.p[p]&^m | agree
	}
}

func opRedux(c *comp) op {
	if !c.flag("sync") {
		c.fail("no .sync")
	}
	c.want(3)
	name := c.oneOf("add", "min", "max", "and", "or", "xor")
	t := c.typ()
	d, a := c.dst(0, t), c.src(1, t)
	c.members(2)
	f := map[string]func(x, y uint64) uint64{
		"add": func(x, y uint64) uint64 { return x + y },
		"and": func(x, y uint64) uint64 { return x & y },
		"or":  func(x, y uint64) uint64 { return x | y },
		"xor": func(x, y uint64) uint64 { return x ^ y },
		"min": func(x, y uint64) uint64 { return uint64(min(int64(x), int64(y))) },
		"max": func(x, y uint64) uint64 { return uint64(max(int64(x), int64(y))) },
	}[name]
	if f == nil || t.bits != 32 || t.float() {
		c.fail("unknown reduction")
	}
	return func(w *warp, m uint32) {
		first := bits.TrailingZeros32(m)
		v := t.value(w.r[a][first])
		for rest := m & (m - 1); rest != 0; rest &= rest - 1 {
			v = f(v, t.value(w.r[a][bits.TrailingZeros32(rest)]))
		}
		for ; m != 0; m &= m - 1 {
			w.r[d][bits.TrailingZeros32(m)] = v & t.mask()
		}
	}
}

func opActivemask(c *comp) op {
	c.want(1)
	d := c.dst(0, c.typ())
	return func(w *warp, m uint32) {
		for rest := m; rest != 0; rest &= rest - 1 {
			w.r[d][bits.TrailingZeros32(rest)] = uint64(m)
		}
	}
}

// opElect makes the lowest member the leader.
func opElect(c *comp) op {
	if !c.flag("sync") {
		c.fail("no .sync")
	}
	c.want(2)
	to, p := c.pair(0)
	d := c.dstRow(to, types["b32"])
	c.members(1)
	return func(w *warp, m uint32) {
		leader := bits.TrailingZeros32(m)
		w.p[p] = w.p[p]&^m | 1<<leader
		for ; m != 0; m &= m - 1 {
			w.r[d][bits.TrailingZeros32(m)] = uint64(leader)
		}
	}
}
