package engine

import (
	"fmt"
	"time"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/kvcache"
	"github.com/holdfast-run/holdfast/sampler"
	"github.com/holdfast-run/holdfast/scheduler"
)

// Scheduler, pool and device import nothing of each other; here they meet, and
// must mean the same by a block.
var (
	_ = [1]struct{}{}[device.BlockTokens-scheduler.BlockTokens]
	_ = [1]struct{}{}[device.BlockTokens-kvcache.BlockTokens]
)

// flight is one step under way. The loop launches it, has it sampled, and lands
// it; where launches overlap the host, the next step is launched in between.
type flight struct {
	batch  *scheduler.Batch
	in     device.StepInput
	late   sampler.Late
	ticket device.Ticket
	start  time.Time
	err    error // of launch or sample
	trace  stepTrace

	posts  []post
	drawn  []int32 // per item that draws: its token
	before []int   // per item: how many tokens its sequence had
}

// greedyRow draws from rows of logits whose token nobody wants.
var greedyRow = sampler.Row{Params: sampler.Params{TopP: 1}}

// launch starts the forward pass of a batch.
func (l *loop) launch(f *flight, batch *scheduler.Batch) {
	f.batch, f.start, f.err = batch, time.Now(), nil
	f.trace.launched = l.now()
	f.trace.describe(batch, l.sched.Running(), l.sched.Waiting())
	f.fill(batch)
	f.in.KeepLogits = l.tap != nil
	for _, it := range batch.Items {
		g := owner(it.Seq)
		f.in.KeepLogits = f.in.KeepLogits || it.Logits > 0 && (g.req.Logprobs || g.req.PromptLogprobs)
	}
	if f.err = l.move(batch.Moves); f.err == nil {
		f.ticket, f.err = l.prog.Launch(&f.in)
	}
	l.note(f.err)
	f.trace.queued = l.now()
}

// move has the device copy blocks. It does so in order with launches, so there
// is nothing to wait for.
func (l *loop) move(moves []scheduler.Move) (err error) {
	pool, window := l.prog.Pool(device.Full), l.prog.Pool(device.Window)
	for _, m := range moves {
		switch m.Kind {
		case scheduler.CopyBlock:
			_, err = pool.Copy(m.From, m.To)
		case scheduler.SaveBlock:
			_, err = pool.Save(m.From, l.hostBlock(m.To))
		case scheduler.LoadBlock:
			_, err = pool.Load(l.hostBlock(m.From), m.To)
		case scheduler.CopyWindow:
			_, err = window.Copy(m.From, m.To)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// hostBlock is one block of the host's memory.
func (l *loop) hostBlock(i int32) []byte {
	n := l.prog.Pool(device.Full).BlockBytes()
	return l.host[int(i)*n : (int(i)+1)*n]
}

// fill turns a batch into the device's flat arrays.
func (f *flight) fill(batch *scheduler.Batch) {
	in := &f.in
	in.Tokens, in.Positions = in.Tokens[:0], in.Positions[:0]
	in.Slots[device.Full], in.Slots[device.Window] = in.Slots[device.Full][:0], in.Slots[device.Window][:0]
	in.Spans, in.Logits, in.Tables = in.Spans[:0], in.Logits[:0], in.Tables[:0]
	for _, it := range batch.Items {
		q := it.Seq
		if q.Sent < len(q.Blocks) {
			in.Tables = append(in.Tables, device.TableDiff{Row: q.Row, Start: int32(q.Sent), Blocks: q.Blocks[q.Sent:]})
			q.Sent = len(q.Blocks)
		}
		f.fillWindow(it)
		in.Spans = append(in.Spans, device.Span{Row: q.Row, Start: int32(len(in.Tokens)), Tokens: int32(it.Tokens)})
		for p := it.Start; p < it.Start+it.Tokens; p++ {
			token := device.Sampled
			if p < len(q.Tokens) {
				token = q.Tokens[p]
			}
			in.Tokens = append(in.Tokens, token)
			in.Positions = append(in.Positions, int32(p))
			in.Slots[device.Full] = append(in.Slots[device.Full], slot(q.Blocks[p/device.BlockTokens], p))
		}
		for i := it.Logits; i > 0; i-- {
			in.Logits = append(in.Logits, int32(len(in.Tokens)-i))
		}
	}
}

// slot is where a block keeps the KV of position p.
func slot(block int32, p int) int32 {
	return block*device.BlockTokens + int32(p%device.BlockTokens)
}

// fillWindow adds what an item needs of the window pool, if there is one.
func (f *flight) fillWindow(it scheduler.Item) {
	q, in := it.Seq, &f.in
	if len(q.Window) == 0 {
		return
	}
	if end, from := q.WindowFrom+len(q.Window), max(q.WindowSent, q.WindowFrom); from < end {
		in.Tables = append(in.Tables, device.TableDiff{Kind: device.Window, Row: q.Row, Start: int32(from), Blocks: q.Window[from-q.WindowFrom:]})
		q.WindowSent = end
	}
	for p := it.Start; p < it.Start+it.Tokens; p++ {
		in.Slots[device.Window] = append(in.Slots[device.Window], slot(q.Window[p/device.BlockTokens-q.WindowFrom], p))
	}
}

// sample has the tokens drawn. What is drawn may depend on all tokens before:
// the step before this one has landed.
func (l *loop) sample(f *flight) {
	if f.err != nil {
		return
	}
	f.trace.sampling = l.now()
	f.late.Rows = f.late.Rows[:0]
	for _, it := range f.batch.Items {
		for i := range it.Logits {
			row := greedyRow
			if it.Draw && i == it.Logits-1 {
				row = owner(it.Seq).row()
			}
			f.late.Rows = append(f.late.Rows, row)
		}
	}
	f.ticket, f.err = l.prog.Sample(f.ticket, &f.late)
	l.note(f.err)
	f.trace.sampled = l.now()
}

// land waits for the step and hands its tokens out.
func (l *loop) land(f *flight) {
	var out *device.Output
	f.trace.waiting = l.now()
	if f.err == nil {
		out, f.err = f.ticket.Wait()
		l.note(f.err)
	}
	f.trace.landed = l.now()
	switch {
	case l.lost != nil:
		return
	case f.err != nil:
		l.fail(f)
		return
	}
	f.drawn, f.before = f.drawn[:0], f.before[:0]
	row := 0
	for _, it := range f.batch.Items {
		row += it.Logits
		if it.Draw {
			f.drawn = append(f.drawn, out.Tokens[row-1])
		}
		f.before = append(f.before, len(it.Seq.Tokens))
	}
	l.sched.Apply(f.batch, f.drawn)
	now := time.Now()
	began := f.start
	if last := l.landed; last.After(began) {
		began = last // it ran behind the step before it
	}
	l.landed = now
	l.sched.Learn(f.batch, now.Sub(began))
	l.lastNs.Store(l.now())
	l.deliver(f, out)
	f.trace.delivered = l.now()
	l.mu.Lock()
	l.trace.add(&f.trace)
	l.mu.Unlock()
}

// deliver gives the step's tokens to their generations and drops those that
// have ended.
func (l *loop) deliver(f *flight, out *device.Output) {
	var d delivered
	f.posts = f.posts[:0]
	row := 0
	for i, it := range f.batch.Items {
		q, g := it.Seq, owner(it.Seq)
		logits := out.Logits
		if len(logits) > 0 {
			logits = logits[row : row+it.Logits]
		}
		row += it.Logits
		if g.ended { // by Cancel; or the row is a ghost
			continue
		}
		if it.Start < g.usage.PromptTokens {
			d.prompt += it.Tokens
		}
		var logprob *TokenLogprob
		if len(logits) > 0 {
			logprob = l.look(g, it, f.before[i], logits)
		}
		if it.Kept {
			if len(q.Tokens) == g.usage.PromptTokens+len(g.req.Drawn)+1 {
				d.cached += q.Cached
			}
			d.made++
			if len(q.Tokens) == g.usage.PromptTokens+len(g.req.Drawn)+1 {
				l.keep(g)
			}
			token := q.Tokens[len(q.Tokens)-1]
			g.drew(token, q.Reason)
			f.posts = append(f.posts, post{g, token, logprob, q.Reason})
		}
		l.settle(g)
	}
	l.flushJournals(f.batch)
	for _, p := range f.posts {
		p.to.mail.put(p.token, p.logprob, p.why, p.to.seq.Cached)
	}
	clear(f.posts)
	l.count(d)
}

// post is a drawn token on its way to its reader. Journals have it before readers wake:
// they would hand it over themselves, all at once, and hold up the loop that does so.
type post struct {
	to      *Generation
	token   int32
	logprob *TokenLogprob
	why     scheduler.Reason
}

// settle drops a generation whose sequence has finished, and tells its reader
// why where its last token does not say so.
func (l *loop) settle(g *Generation) {
	if g.seq.State != scheduler.Finished {
		return
	}
	if !g.ended {
		g.end(g.seq.Reason, reasonError(&g.seq))
	}
	l.keep(g)
	l.drop(g)
}

// reasonError is what a reader is told of a sequence that ended without a token.
func reasonError(q *scheduler.Sequence) error {
	switch q.Reason {
	case scheduler.Failed:
		return fmt.Errorf("%w: no number among the logits", ErrDevice)
	case scheduler.Expired:
		if q.DueInQueue() {
			return ErrQueueTime
		}
		return ErrTime
	}
	return nil
}

// fail ends every sequence of a batch whose step failed, where the device works on.
func (l *loop) fail(f *flight) {
	for _, it := range f.batch.Items {
		l.sched.Cancel(it.Seq)
		if g := owner(it.Seq); !g.ended {
			g.end(scheduler.Failed, fmt.Errorf("%w: %w", ErrDevice, f.err))
			l.drop(g)
		}
	}
}

// owner returns the generation of a sequence.
func owner(q *scheduler.Sequence) *Generation { return q.Owner.(*Generation) }
