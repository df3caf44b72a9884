//go:build (amd64 || arm64) && !noasm

package cpu

import "unsafe"

func (k *Kernels) attendChunk(c *Chunk, q []float32, n int, first, last []int32, scratch, m, l, acc []float32) {
	if k.Tier == Generic || c.Dim%16 != 0 {
		genericAttendChunk(c, q, n, first, last, scratch, m, l, acc)
		return
	}
	most, _ := k.attendSizes()
	// Parts of equal size share more loads than full ones and a small rest.
	for parts := (n + most - 1) / most; n > 0; parts-- {
		part := (n + parts - 1) / parts
		k.attendPart(c, q, part, first, last, scratch, m, l, acc)
		n -= part
		q, acc = q[part*c.Dim:], acc[part*c.Dim:]
		first, last, m, l = first[part:], last[part:], m[part:], l[part:]
	}
}

// attendPart is attendChunk for as many queries as a kernel takes.
func (k *Kernels) attendPart(c *Chunk, q []float32, n int, first, last []int32, p, m, l, acc []float32) {
	clear(acc[:n*c.Dim])
	// [from, to) is seen by some query, [allFrom, allTo) by all of them.
	from, to, allFrom, allTo := int32(ChunkSlots), int32(0), int32(0), int32(ChunkSlots)
	for i := range n {
		if first[i] < last[i] {
			from, to = min(from, first[i]), max(to, last[i])
		}
		allFrom, allTo = max(allFrom, first[i]), min(allTo, last[i])
	}
	k.scores(c, q, n, from, to, p)
	for i := range n {
		if first[i] < last[i] {
			c.softCap(p[i*ChunkSlots:][first[i]:last[i]])
		}
	}
	k.weights(n, first, last, allTo-allFrom == ChunkSlots, p, m, l)
	// Slots that all queries see are added for all at once; what a query sees
	// before and after them, alone.
	if n == 1 || allFrom >= allTo {
		for i := range n {
			k.values(c, p, i, 1, first[i], last[i], acc)
		}
		return
	}
	for i := range n {
		k.values(c, p, i, 1, first[i], allFrom, acc)
	}
	k.values(c, p, 0, n, allFrom, allTo, acc)
	for i := range n {
		k.values(c, p, i, 1, allTo, last[i], acc)
	}
}

// scores computes the scores of whole blocks, so that the slots [from, to) have
// theirs, in runs without a gap.
func (k *Kernels) scores(c *Chunk, q []float32, n int, from, to int32, p []float32) {
	for b, end := int(from)/BlockSlots, (int(to)+BlockSlots-1)/BlockSlots; b < end; {
		run := 0
		for b+run < end && c.K[b+run] != nil {
			run++
		}
		if run > 0 {
			k.scoresAsm(c.Type, n, &p[b*BlockSlots], &q[0], uintptr(c.Dim), bases(&c.K, b), bases(&c.V, b), uintptr(run))
		}
		b += run + 1
	}
}

// weights turns n rows of scores into weights; whole says that all see all slots.
func (k *Kernels) weights(n int, first, last []int32, whole bool, p, m, l []float32) {
	if whole && k.weightsWhole(n, p, m, l) {
		return
	}
	for i := range n {
		if first[i] >= last[i] {
			m[i], l[i] = negativeInfinity, 0
			continue
		}
		k.weightsAsm(&p[i*ChunkSlots], uintptr(first[i]), uintptr(last[i]), &m[i], &l[i])
	}
}

// values adds the weighted values of the slots [from, to) to n rows of acc,
// beginning with row i.
func (k *Kernels) values(c *Chunk, p []float32, i, n int, from, to int32, acc []float32) {
	if from >= to {
		return
	}
	blocks, ahead, weights := bases(&c.V, 0), bases(&c.Next, 0), &p[i*ChunkSlots]
	row := uintptr(c.Type.RowBytes(c.Dim))
	_, most := k.attendSizes() // dimensions at a time
	for at := 0; at < c.Dim; {
		d := most
		for at+d > c.Dim {
			d /= 2
		}
		k.valuesAsm(c.Type, n, d, &acc[i*c.Dim+at], uintptr(4*c.Dim), weights, blocks, ahead, uintptr(c.Type.RowBytes(at)), row, uintptr(from), uintptr(to))
		at += d
	}
}

// bases returns the base addresses of a chunk's blocks from b on.
func bases(p *[chunkBlocks]unsafe.Pointer, b int) **byte { return (**byte)(unsafe.Pointer(&p[b])) }
