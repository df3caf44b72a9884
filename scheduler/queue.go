package scheduler

import "time"

// aging is how long a sequence waits in a class before it rises to the next.
const aging = int64(10 * time.Second)

// queue holds the sequences that can be admitted: for each class and principal a
// line in order of arrival, those that were preempted before the others; for each
// class a heap of the lines, the least served principal's on top; and for each
// class a list of all in it, the longest there first. Nothing takes longer than
// the logarithm of the number of principals.
type queue struct {
	lines [classes][]*line
	ages  [classes]list
}

// line is what waits in one class for one principal.
type line struct {
	payer *Principal
	key   float64 // its service when it was last looked at, never more than now
	at    int     // place in the class's heap; -1: empty, not there
	back  list    // preempted
	fresh list
}

func (l *line) head() *Sequence {
	if l.back.first != nil {
		return l.back.first
	}
	return l.fresh.first
}

func (l *line) of(q *Sequence) *list {
	if q.admitted {
		return &l.back
	}
	return &l.fresh
}

// add puts q into the line of its class.
func (u *queue) add(q *Sequence) {
	p := q.payer
	l := p.lines[q.class]
	if l == nil {
		l = &line{payer: p, at: -1}
		p.lines[q.class] = l
	}
	l.of(q).insert(byLine, q)
	u.ages[q.class].push(byAge, q)
	u.fix(q.class, l)
}

// remove takes q out.
func (u *queue) remove(q *Sequence) {
	l := q.payer.lines[q.class]
	l.of(q).remove(byLine, q)
	u.ages[q.class].remove(byAge, q)
	u.fix(q.class, l)
}

// best returns who is to be admitted next, or nil.
func (u *queue) best() *Sequence {
	for c := classes - 1; c >= 0; c-- {
		h := u.lines[c]
		if len(h) == 0 {
			continue
		}
		for h[0].key < h[0].payer.served { // keys only grow, so the top is the least when it is true
			h[0].key = h[0].payer.served
			down(h, 0)
		}
		return h[0].head()
	}
	return nil
}

// age lets those rise that have waited long enough.
func (u *queue) age(now int64) {
	for c := range classes - 1 {
		for {
			q := u.ages[c].first
			if q == nil || now-q.since < aging {
				break
			}
			u.remove(q)
			q.class, q.since = c+1, q.since+aging
			u.add(q)
		}
	}
}

// fix puts a line whose head may have changed where it belongs in its heap.
func (u *queue) fix(class int, l *line) {
	h := &u.lines[class]
	empty := l.head() == nil
	switch {
	case empty && l.at < 0:
		return
	case l.at < 0:
		l.at, l.key = len(*h), l.payer.served
		*h = append(*h, l)
	case empty:
		last := len(*h) - 1
		at := l.at
		(*h)[at] = (*h)[last]
		(*h)[at].at = at
		(*h)[last] = nil
		*h = (*h)[:last]
		l.at = -1
		if at == last {
			return
		}
		l = (*h)[at]
	}
	up(*h, l.at)
	down(*h, l.at)
}

func (l *line) before(m *line) bool {
	if l.key != m.key {
		return l.key < m.key
	}
	return l.head().Arrived < m.head().Arrived
}

func swap(h []*line, i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

func up(h []*line, i int) {
	for i > 0 && h[i].before(h[(i-1)/2]) {
		swap(h, i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func down(h []*line, i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h); child++ {
			if h[child].before(h[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		swap(h, i, least)
		i = least
	}
}

// A sequence is in two lists at once, each with its own links.
const (
	byLine = iota
	byAge
)

type links struct{ prev, next *Sequence }

// list is a list through the sequences' links.
type list struct{ first, last *Sequence }

// insert puts q behind all that arrived no later; most often at the end.
func (l *list) insert(by int, q *Sequence) {
	after := l.last
	for after != nil && after.Arrived > q.Arrived {
		after = after.links[by].prev
	}
	l.insertAfter(by, after, q)
}

func (l *list) push(by int, q *Sequence) { l.insertAfter(by, l.last, q) }

func (l *list) insertAfter(by int, after, q *Sequence) {
	next := l.first
	if after != nil {
		next = after.links[by].next
		after.links[by].next = q
	} else {
		l.first = q
	}
	if next != nil {
		next.links[by].prev = q
	} else {
		l.last = q
	}
	q.links[by] = links{prev: after, next: next}
}

func (l *list) remove(by int, q *Sequence) {
	at := q.links[by]
	if at.prev != nil {
		at.prev.links[by].next = at.next
	} else {
		l.first = at.next
	}
	if at.next != nil {
		at.next.links[by].prev = at.prev
	} else {
		l.last = at.prev
	}
	q.links[by] = links{}
}
