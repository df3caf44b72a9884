package cuda

import (
	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/device"
)

// lane is one of the program's two streams: steps and copies of blocks run on the
// compute stream, what goes to the host and comes from there on the copy stream. What
// a lane is asked for has a number.
//
// The lanes keep these rules, and are otherwise free of each other:
//
//   - a save waits for the last step or copy that wrote the block;
//   - a load waits for all that the compute stream was asked for before it: no table
//     of the steps under way is at hand that says who still reads the block;
//   - a step, and a copy, wait for all loads that were asked for before it, and for the
//     saves of blocks that it writes.
//
// Waiting is the device's: an event is recorded on one stream and the other one's next
// work waits for it. The host waits for a copy's own event only.
type lane struct {
	stream cuda.Stream
	event  cuda.Event // where the other lane waits
	last   uint64     // number of what was asked for last
	past   uint64     // for this one, and those before, the other lane has not to wait any more
}

// touched says who used a block last, by number; 0 if nobody did.
type touched struct {
	wrote uint64 // of the compute stream
	saved uint64 // of the copy stream
}

// openLanes makes the streams and their events. Until the program is open nothing is
// asked of the copy stream, and loadWeights waits for what clears the pools.
func (p *program) openLanes() (err error) {
	for _, l := range []*lane{&p.compute, &p.copies} {
		if l.stream, err = p.driver.StreamCreate(0); err != nil {
			return p.fail("stream", err)
		}
		if l.event, err = p.driver.EventCreate(false); err != nil {
			return p.fail("event", err)
		}
	}
	return nil
}

// close gives a lane's stream and event back. Nothing is under way.
func (l *lane) close(d *cuda.Driver, note func(error)) {
	if l.event != 0 {
		note(d.EventDestroy(l.event))
	}
	if l.stream != 0 {
		note(d.StreamDestroy(l.stream))
	}
}

// follow has what l is asked for from now on wait for piece n of the other lane. One
// event marks all that the other was asked for.
func (p *program) follow(l, other *lane, n uint64) error {
	if n <= other.past {
		return nil
	}
	err := p.driver.EventRecord(other.event, other.stream)
	if err == nil {
		err = p.driver.StreamWaitEvent(l.stream, other.event)
	}
	if err != nil {
		return p.fail("order of streams", err)
	}
	other.past = other.last
	return nil
}

// orderStep puts a step behind the loads, and the saves of blocks that it writes. It
// allocates nothing.
func (p *program) orderStep(in *device.StepInput) error {
	p.compute.last++
	after := p.loaded
	for kind := range in.Slots {
		blocks := p.pools[kind].touched
		for _, slot := range in.Slots[kind] {
			b := &blocks[slot/device.BlockTokens]
			b.wrote = p.compute.last
			after = max(after, b.saved)
		}
	}
	return p.follow(&p.compute, &p.copies, after)
}
