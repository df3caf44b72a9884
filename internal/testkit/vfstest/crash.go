package vfstest

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// Policy says what a power cut leaves of what was not synced.
type Policy int

const (
	// KeepNone: nothing unsynced is left.
	KeepNone Policy = iota
	// KeepAll: everything is.
	KeepAll
	// KeepPrefix: everything up to some operation, nothing after it.
	KeepPrefix
	// KeepSome: each page, length and name on its own.
	KeepSome
	// KeepTorn: as KeepSome, and pages are mixed of two versions by sector.
	KeepTorn
	// Policies is how many there are.
	Policies
)

// Crash returns the disk as it may be found after a power cut just after
// operation op. It shares pages with d, and neither can change the other's. Equal
// arguments give equal disks. While d is in use, op must be in its past.
func (d *Disk) Crash(op int, policy Policy, rng *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	cut := cut{op: op, policy: policy, rng: rng, prefix: op}
	if policy == KeepPrefix {
		cut.prefix = rng.IntN(op + 1)
	}
	found := d.namesAt(&cut)
	files := map[*inode]*inode{} // a file may be found under two names
	for _, name := range slices.Sorted(maps.Keys(found)) {
		ino := found[name]
		if files[ino] == nil {
			files[ino] = ino.at(&cut)
		}
		found[name] = files[ino]
	}
	return newDisk(found)
}

type cut struct {
	op     int
	policy Policy
	rng    *rand.Rand
	prefix int
}

// keeps says whether one unsynced change is on the disk.
func (c *cut) keeps(op int) bool {
	switch c.policy {
	case KeepNone:
		return false
	case KeepSome, KeepTorn:
		return c.rng.IntN(2) == 0
	}
	return op <= c.prefix
}

// namesAt returns the names that the cut leaves.
func (d *Disk) namesAt(c *cut) map[string]*inode {
	names := maps.Clone(d.start)
	synced := map[string]int{}
	for _, s := range d.syncs {
		if s.op <= c.op {
			synced[s.dir] = s.op
		}
	}
	for _, m := range d.moves {
		if m.op <= c.op && (m.op < synced[m.dir] || c.keeps(m.op)) {
			m.apply(names)
		}
	}
	return names
}

// at returns the file that the cut leaves, all of it durable.
func (ino *inode) at(c *cut) *inode {
	synced := 0
	for _, s := range ino.syncs {
		if s <= c.op {
			synced = s
		}
	}
	size, _, _ := choose(ino.sizes, synced, c)
	left := &inode{sizes: []version[int64]{{value: size}}}
	left.pages = make([][]version[*page], len(ino.pages))
	store := make([]version[*page], len(ino.pages)) // one allocation for all
	for i, versions := range ino.pages {
		content, other, differ := choose(versions, synced, c)
		if differ && c.policy == KeepTorn {
			content = tear(content, other, c.rng)
		}
		if content != nil {
			store[i].value = content
			left.pages[i] = store[i : i+1 : i+1]
		}
	}
	return left
}

// choose picks one of the versions that may be on the disk: the newest that a
// sync covers, or any younger one up to the cut. differ says that there was a
// choice; other is then what else may be there.
func choose[T any](versions []version[T], synced int, c *cut) (value, other T, differ bool) {
	durable, end := 0, 0 // versions[:end] are in the past; versions[durable-1] is synced
	for end < len(versions) && versions[end].op <= c.op {
		if v := versions[end]; v.op <= synced && !v.lost {
			durable = end + 1
		}
		end++
	}
	if durable > 0 {
		value, other = versions[durable-1].value, versions[durable-1].value
	}
	young := versions[durable:end]
	if len(young) == 0 {
		return value, other, false
	}
	switch c.policy {
	case KeepNone:
	case KeepSome, KeepTorn:
		if n := c.rng.IntN(len(young) + 1); n > 0 {
			value = young[n-1].value
		}
		if n := c.rng.IntN(len(young) + 1); n > 0 {
			other = young[n-1].value
		}
	default:
		for _, v := range young {
			if v.op <= c.prefix {
				value = v.value
			}
		}
	}
	return value, other, true
}

// tear mixes two versions of a page by sectors.
func tear(a, b *page, rng *rand.Rand) *page {
	mixed := new(page)
	bits := rng.Uint32()
	for i := range pageSize / sectorSize {
		from := a
		if bits>>i&1 != 0 {
			from = b
		}
		if from != nil {
			copy(mixed[i*sectorSize:(i+1)*sectorSize], from[i*sectorSize:])
		}
	}
	return mixed
}
