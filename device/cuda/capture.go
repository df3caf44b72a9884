package cuda

import (
	"errors"
	"fmt"

	"github.com/holdfast-run/holdfast/bindings/cuda"
)

// captured is the forward pass of steps that only decode, of up to rows rows, as
// one launch. Rows that a step does not fill have position -1.
type captured struct {
	rows int
	name string
	exec cuda.GraphExec
}

// capture records a graph for each bucket of rows: the powers of two, and the most
// that there can be.
func (p *program) capture() error {
	if p.synchronous { // which a capture forbids
		return nil
	}
	most := p.decodeRows()
	for rows := 1; ; rows = min(2*rows, most) {
		g, err := p.captureRows(rows)
		if err != nil {
			return err
		}
		p.graphs = append(p.graphs, g)
		if rows == most {
			return nil
		}
	}
}

func (p *program) captureRows(rows int) (captured, error) {
	g := captured{rows: rows, name: fmt.Sprintf("decode graph of %d rows", rows)}
	d := p.driver
	if err := d.StreamBeginCapture(p.compute.stream, cuda.CaptureThreadLocal); err != nil {
		return g, p.fail(g.name, err)
	}
	s := step{tokens: rows, logits: rows, decode: rows, spans: rows, all: true}
	var failed error
	for _, op := range p.ops {
		if failed = op.run(p, &s); failed != nil {
			break
		}
	}
	recorded, err := d.StreamEndCapture(p.compute.stream)
	if recorded != 0 {
		defer func() { _ = d.GraphDestroy(recorded) }() // the executable one stays
	}
	if err = errors.Join(failed, p.fail(g.name, err)); err != nil {
		return g, err
	}
	if g.exec, err = d.GraphInstantiate(recorded); err != nil {
		return g, p.fail(g.name, err)
	}
	if err := d.GraphUpload(g.exec, p.compute.stream); err != nil {
		return g, errors.Join(p.fail(g.name, err), d.GraphExecDestroy(g.exec))
	}
	return g, nil
}

// graphFor returns the smallest graph for a step, or nil if it is not one of
// decoding only.
func (p *program) graphFor(s *step) *captured {
	if s.decode != s.spans || !s.all {
		return nil
	}
	for i := range p.graphs {
		if p.graphs[i].rows >= s.tokens {
			return &p.graphs[i]
		}
	}
	return nil
}
