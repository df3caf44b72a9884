package cuda

import (
	"math"

	"github.com/holdfast-run/holdfast/bindings/dynload"
)

const (
	streamNonBlocking  = 1 // not ordered with the legacy default stream
	eventDisableTiming = 2
	eventBlockingSync  = 1
)

// StreamCreate makes a stream that is not ordered with the default stream. The
// priority is in CtxGetStreamPriorityRange; 0 is the least.
func (d *Driver) StreamCreate(priority int) (Stream, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := d.do(c, fnStreamCreateWithPriority, c.Out(0), streamNonBlocking, uintptr(priority))
	return Stream(c.Word(0)), err
}

// StreamDestroy frees a stream once its work is done; it does not wait.
func (d *Driver) StreamDestroy(s Stream) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnStreamDestroy, uintptr(s))
}

// StreamSynchronize waits for the work of a stream.
func (d *Driver) StreamSynchronize(s Stream) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnStreamSynchronize, uintptr(s))
}

// StreamQuery reports whether the work of a stream is done.
func (d *Driver) StreamQuery(s Stream) (bool, error) { return d.query(fnStreamQuery, uintptr(s)) }

// StreamWaitEvent makes later work of the stream wait for the event's last record.
func (d *Driver) StreamWaitEvent(s Stream, e Event) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnStreamWaitEvent, uintptr(s), uintptr(e), 0)
}

// EventCreate makes an event. One with timing can be asked for the time since
// another and costs more to record. EventSynchronize sleeps rather than spins.
func (d *Driver) EventCreate(timing bool) (Event, error) {
	c := dynload.NewCall()
	defer c.Free()
	flags := uintptr(eventBlockingSync)
	if !timing {
		flags |= eventDisableTiming
	}
	err := d.do(c, fnEventCreate, c.Out(0), flags)
	return Event(c.Word(0)), err
}

// EventDestroy frees an event; it does not wait.
func (d *Driver) EventDestroy(e Event) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnEventDestroy, uintptr(e))
}

// EventRecord marks what the stream holds now.
func (d *Driver) EventRecord(e Event, s Stream) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnEventRecord, uintptr(e), uintptr(s))
}

// EventQuery reports whether the marked work is done; true if never recorded.
func (d *Driver) EventQuery(e Event) (bool, error) { return d.query(fnEventQuery, uintptr(e)) }

// EventSynchronize waits for the marked work.
func (d *Driver) EventSynchronize(e Event) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnEventSynchronize, uintptr(e))
}

// EventElapsedTime returns the milliseconds between two events with timing, to
// about half a microsecond.
func (d *Driver) EventElapsedTime(start, end Event) (float32, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := d.do(c, fnEventElapsedTime, c.Out(0), uintptr(start), uintptr(end))
	return math.Float32frombits(uint32(c.Word(0))), err
}

// query calls a function for which NotReady is an answer.
func (d *Driver) query(fn int, handle uintptr) (bool, error) {
	c := dynload.NewCall()
	defer c.Free()
	switch code := d.code(c, fn, handle); code {
	case Success:
		return true, nil
	case NotReady:
		return false, nil
	default:
		return false, d.fail(fn, code)
	}
}
