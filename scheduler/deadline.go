package scheduler

// dues is a heap of the sequences with deadlines, the earliest on top.
type dues struct{ heap []due }

type due struct {
	at int64
	q  *Sequence
}

// deadline is when q is to end if nothing happens; 0 for never.
func (q *Sequence) deadline() int64 {
	if q.DueInQueue() {
		return q.QueueBy
	}
	return q.FinishBy
}

// DueInQueue reports whether QueueBy is the deadline that holds for q, and not
// FinishBy. Of one that ended as Expired it tells which of them passed.
func (q *Sequence) DueInQueue() bool {
	return q.QueueBy != 0 && !q.admitted && (q.FinishBy == 0 || q.QueueBy < q.FinishBy)
}

// set puts q where its present deadline belongs.
func (d *dues) set(q *Sequence) {
	d.drop(q)
	if at := q.deadline(); at != 0 {
		d.heap = append(d.heap, due{at, q})
		q.due = len(d.heap)
		d.up(len(d.heap) - 1)
	}
}

// drop takes q out if it is there.
func (d *dues) drop(q *Sequence) {
	if q.due == 0 {
		return
	}
	i, last := q.due-1, len(d.heap)-1
	d.swap(i, last)
	d.heap[last] = due{}
	d.heap = d.heap[:last]
	q.due = 0
	if i < last {
		d.up(i)
		d.down(i)
	}
}

// past returns a sequence whose deadline has come, or nil.
func (d *dues) past(now int64) *Sequence {
	if len(d.heap) == 0 || d.heap[0].at > now {
		return nil
	}
	return d.heap[0].q
}

func (d *dues) swap(i, j int) {
	h := d.heap
	h[i], h[j] = h[j], h[i]
	h[i].q.due, h[j].q.due = i+1, j+1
}

func (d *dues) up(i int) {
	for i > 0 && d.heap[i].at < d.heap[(i-1)/2].at {
		d.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (d *dues) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(d.heap); child++ {
			if d.heap[child].at < d.heap[least].at {
				least = child
			}
		}
		if least == i {
			return
		}
		d.swap(i, least)
		i = least
	}
}
