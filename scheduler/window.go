package scheduler

// WindowBlocks returns how many blocks a window pool needs so that no sequence
// ever lacks one: each row holds what its last step saw and wrote. tokens is the
// most tokens of a step.
func WindowBlocks(rows, tokens, window int) int { return rows * ((window+tokens)/BlockTokens + 2) }

// slide gives q the window blocks of positions [q.next, q.next+n), and takes back
// those that neither they nor later ones see. A step that is under way may still
// read these: whoever gets them writes them in a later launch.
func (s *Scheduler) slide(q *Sequence, n int) {
	if s.window == 0 {
		return
	}
	if first := s.blocks.WindowFrom(q.next); first > q.WindowFrom {
		k := min(first-q.WindowFrom, len(q.Window))
		for _, b := range q.Window[:k] {
			s.blocks.ReleaseWindow(b)
		}
		q.Window = q.Window[:copy(q.Window, q.Window[k:])]
		q.WindowFrom = first
	}
	for q.WindowFrom+len(q.Window) < blocksFor(q.next+n) {
		q.Window = append(q.Window, s.allocWindow())
	}
}

func (s *Scheduler) allocWindow() int32 {
	b, ok := s.blocks.AllocWindow()
	if !ok {
		panic("scheduler: BUG: the window pool is smaller than WindowBlocks says")
	}
	return b
}

// fillWindow gives a sequence that is being admitted the window blocks that its
// first step looks back on: those that go with the first known of its blocks, or
// its leader's with a copy of the unfilled last one.
func (s *Scheduler) fillWindow(q *Sequence, known int, fork bool) {
	if s.window == 0 {
		return
	}
	q.WindowSent = 0
	if !fork {
		q.WindowFrom = s.blocks.WindowFrom(known * BlockTokens)
		q.Window = s.blocks.MatchWindow(q.Window[:0], q.Blocks[:known])
		return
	}
	l := q.Leader
	q.WindowFrom = s.blocks.WindowFrom(q.prompt - 1)
	q.Window = append(q.Window[:0], l.Window[q.WindowFrom-l.WindowFrom:known-l.WindowFrom]...)
	for _, b := range q.Window {
		s.blocks.RetainWindow(b)
	}
	q.Window = append(q.Window, s.allocWindow())
	s.move(CopyWindow, l.Window[known-l.WindowFrom], q.Window[len(q.Window)-1])
}

// seesPrompt reports whether l still has the window blocks that a fork of its
// prompt looks back on.
func (s *Scheduler) seesPrompt(l *Sequence) bool {
	return s.window == 0 || l.WindowFrom <= s.blocks.WindowFrom(l.prompt-1)
}

// sealWindow lets others find the window block of q's sealed block i.
func (s *Scheduler) sealWindow(q *Sequence, i int) {
	at := i - q.WindowFrom
	if s.window == 0 || at < 0 || at >= len(q.Window) {
		return
	}
	if b := s.blocks.SealWindow(q.Blocks[i], q.Window[at]); b != q.Window[at] {
		q.Window[at] = b
		q.WindowSent = min(q.WindowSent, i)
	}
}

// releaseWindow takes all window blocks from q.
func (s *Scheduler) releaseWindow(q *Sequence) {
	for _, b := range q.Window {
		s.blocks.ReleaseWindow(b)
	}
	q.Window, q.WindowFrom, q.WindowSent = q.Window[:0], 0, 0
}
