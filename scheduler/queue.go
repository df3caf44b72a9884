package scheduler

import "time"

// aging is how long a class waits for an admission before its next in turn rises
// to the class above.
const aging = int64(10 * time.Second)

// queue holds the sequences that can be admitted: for each class and principal a
// line in order of arrival, those that were preempted before the others; and for
// each class a heap of the lines, the least served principal's on top. Nothing
// takes longer than the logarithm of the number of principals.
type queue struct {
	classes [classes]class
	full    int // lines that are not empty
}

type class struct {
	lines []*line
	since int64 // ns: when one of it was last admitted or rose, or when it was last empty
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
func (u *queue) add(q *Sequence, now int64) {
	c, p := &u.classes[q.class], q.payer
	if len(c.lines) == 0 {
		c.since = now
	}
	l := p.lines[q.class]
	if l == nil {
		l = &line{payer: p, at: -1}
		p.lines[q.class] = l
	}
	l.of(q).insert(q)
	u.fix(c, l)
}

// remove takes q out.
func (u *queue) remove(q *Sequence) {
	l := q.payer.lines[q.class]
	l.of(q).remove(q)
	u.fix(&u.classes[q.class], l)
}

// best returns who is to be admitted next, or nil.
func (u *queue) best() *Sequence {
	for i := classes - 1; i >= 0; i-- {
		if q := u.classes[i].best(); q != nil {
			return q
		}
	}
	return nil
}

func (c *class) best() *Sequence {
	h := c.lines
	if len(h) == 0 {
		return nil
	}
	for h[0].key < h[0].payer.served { // keys only grow, so the top is the least when it is true
		h[0].key = h[0].payer.served
		down(h, 0)
	}
	return h[0].head()
}

// age lets the next of each class rise that has waited too long. Only the next:
// the backlog of one principal must not come before others by its age.
func (u *queue) age(now int64) {
	for i := range classes - 1 {
		c := &u.classes[i]
		if len(c.lines) == 0 || now-c.since < aging {
			continue
		}
		c.since = now
		q := c.best()
		u.remove(q)
		q.class++
		u.add(q, now)
	}
}

// fix puts a line whose head may have changed where it belongs in its heap.
func (u *queue) fix(c *class, l *line) {
	h := &c.lines
	empty := l.head() == nil
	switch {
	case empty && l.at < 0:
		return
	case l.at < 0:
		l.at, l.key = len(*h), l.payer.served
		*h = append(*h, l)
		u.full++
	case empty:
		last := len(*h) - 1
		at := l.at
		(*h)[at] = (*h)[last]
		(*h)[at].at = at
		(*h)[last] = nil
		*h = (*h)[:last]
		l.at = -1
		u.full--
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

// list is a list through the sequences' own links.
type list struct{ first, last *Sequence }

// insert puts q behind all that arrived no later; most often at the end.
func (l *list) insert(q *Sequence) {
	after := l.last
	for after != nil && after.Arrived > q.Arrived {
		after = after.ahead
	}
	next := l.first
	if after != nil {
		next = after.behind
		after.behind = q
	} else {
		l.first = q
	}
	if next != nil {
		next.ahead = q
	} else {
		l.last = q
	}
	q.ahead, q.behind = after, next
}

func (l *list) remove(q *Sequence) {
	if q.ahead != nil {
		q.ahead.behind = q.behind
	} else {
		l.first = q.behind
	}
	if q.behind != nil {
		q.behind.ahead = q.ahead
	} else {
		l.last = q.ahead
	}
	q.ahead, q.behind = nil, nil
}
