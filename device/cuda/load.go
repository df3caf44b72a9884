package cuda

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"

	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/internal/f16"
	kernels "github.com/holdfast-run/holdfast/kernels/cuda"
	"github.com/holdfast-run/holdfast/weights"
)

// uploadBytes is the size of each of the two page-locked buffers that weights pass
// through.
const uploadBytes = 16 << 20

// upload sends bytes to the device through two page-locked buffers: one is filled
// while the other is copied.
type upload struct {
	p    *program
	half [2][]byte
	done [2]cuda.Event
	turn int
}

func (p *program) newUpload(bytes int) (u *upload, err error) {
	u = &upload{p: p}
	for i := range u.half {
		if u.half[i], err = p.driver.MemHostAlloc(bytes, cuda.HostPortable); err != nil {
			break
		}
		if u.done[i], err = p.driver.EventCreate(false); err != nil {
			break
		}
	}
	if err != nil {
		u.close()
		return nil, p.fail("page-locked memory for weights", err)
	}
	return u, nil
}

// buffer returns memory to fill, once nothing is copied from it any more.
func (u *upload) buffer() ([]byte, error) {
	if err := u.p.driver.EventSynchronize(u.done[u.turn]); err != nil {
		return nil, u.p.fail("copy of weights", err)
	}
	return u.half[u.turn], nil
}

// send copies the first n bytes of the buffer to the device.
func (u *upload) send(at kernels.Ptr, n int) error {
	d := u.p.driver
	err := d.MemcpyHtoDAsync(devicePtr(at), u.half[u.turn][:n], u.p.compute.stream)
	if err == nil {
		err = d.EventRecord(u.done[u.turn], u.p.compute.stream)
	}
	u.turn = 1 - u.turn
	return u.p.fail("copy of weights", err)
}

// put sends bytes that are at hand.
func (u *upload) put(at kernels.Ptr, data []byte) error {
	for len(data) > 0 {
		b, err := u.buffer()
		if err != nil {
			return err
		}
		n := copy(b, data)
		if err := u.send(at, n); err != nil {
			return err
		}
		at, data = at+kernels.Ptr(n), data[n:]
	}
	return nil
}

// close frees the buffers. Copies must be done.
func (u *upload) close() {
	for i := range u.half {
		if u.half[i] != nil {
			_ = u.p.driver.MemFreeHost(u.half[i]) // of a lost context they are gone
		}
		if u.done[i] != 0 {
			_ = u.p.driver.EventDestroy(u.done[i])
		}
	}
}

// loadWeights sends all weights and tables to the device. A file's pages are given
// back once they are sent.
func (p *program) loadWeights(ctx context.Context) (err error) {
	size := granule
	total := int64(0)
	for _, m := range p.matrices {
		size = max(size, min(uploadBytes, m.bytes), m.tileBytes()) // a small model needs little
		total += int64(m.bytes)
	}
	u, err := p.newUpload(size)
	if err != nil {
		return err
	}
	defer u.close()
	defer func() {
		if e := p.driver.StreamSynchronize(p.compute.stream); err == nil {
			err = p.fail("copy of weights", e)
		}
	}()
	done := int64(0)
	for _, m := range p.matrices {
		err := p.sendMatrix(ctx, u, m, func(n int) {
			if done += int64(n); p.opts.Progress != nil {
				p.opts.Progress(done, total)
			}
		})
		if err != nil {
			return err
		}
	}
	for _, v := range p.vectors {
		x, err := v.values()
		if err != nil {
			return err
		}
		if err := u.put(v.at, bytesOf(x)); err != nil {
			return err
		}
	}
	return p.sendTables(u)
}

// sendTables sends what is computed: angles, and weights of the sampler.
func (p *program) sendTables(u *upload) error {
	for _, t := range p.ropes {
		fine, coarse := kernels.RoPETables(t.freqs, t.magnitude, p.opts.ContextLength)
		if err := u.put(t.fine, bytesOf(fine)); err != nil {
			return err
		}
		if err := u.put(t.coarse, bytesOf(coarse)); err != nil {
			return err
		}
	}
	return u.put(p.at.octave, bytesOf(kernels.OctaveTable()))
}

// tileBytes is the size of 16 rows, the least that is packed.
func (m *matrix) tileBytes() int {
	n, _ := kernels.PackedBytes(m.dtype, kernels.TileRows, m.k()) // newMatrix has asked
	return n
}

// sendMatrix packs a matrix piece by piece and sends it.
func (p *program) sendMatrix(ctx context.Context, u *upload, m *matrix, sent func(n int)) error {
	at := m.at
	for _, part := range m.parts {
		rows := part.out.width()
		step := max(1, len(u.half[0])/m.tileBytes()) * kernels.TileRows
		for row := 0; row < rows; row += step {
			if err := ctx.Err(); err != nil {
				return err
			}
			b, err := u.buffer()
			if err != nil {
				return err
			}
			end := min(row+step, rows)
			n, _ := kernels.PackedBytes(m.dtype, end-row, m.k())
			if err := part.pack(b[:n], m, row, end); err != nil {
				return fmt.Errorf("cuda: tensor %s: %w", part.name, err)
			}
			if err := u.send(at, n); err != nil {
				return err
			}
			at += kernels.Ptr(n)
			sent(n)
		}
		p.file.Drop(part.tensor)
	}
	return nil
}

// pack writes rows [from, to) of a part as the kernels read them, on all cores.
// from is a multiple of 16.
func (t *part) pack(dst []byte, m *matrix, from, to int) error {
	tiles := (to - from + kernels.TileRows - 1) / kernels.TileRows
	workers := min(runtime.GOMAXPROCS(0), tiles)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			first, last := w*tiles/workers, (w+1)*tiles/workers
			begin := first * m.tileBytes()
			end := min(last*m.tileBytes(), len(dst))
			row := from + first*kernels.TileRows
			errs[w] = t.packRows(dst[begin:end], m, row, min(from+last*kernels.TileRows, to))
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// packRows packs rows by one worker.
func (t *part) packRows(dst []byte, m *matrix, from, to int) error {
	if t.tensor.Type == m.dtype && t.out.pad == t.out.dim && m.in.pad == m.in.dim {
		n := t.out.width()
		kernels.Pack(dst, m.dtype, n, m.k(), t.tensor.Data[t.from*m.dtype.RowBytes(m.k()):], from/kernels.TileRows, (to+kernels.TileRows-1)/kernels.TileRows)
		return nil
	}
	raw, err := t.filled(m, from, to)
	if err != nil {
		return err
	}
	kernels.Pack(dst, m.dtype, to-from, m.k(), raw, 0, (to-from+kernels.TileRows-1)/kernels.TileRows)
	return nil
}

// filled returns rows with their filling, as a file of the matrix's type would have
// them. Zero bytes are zero weights in every type.
func (t *part) filled(m *matrix, from, to int) ([]byte, error) {
	stride := m.dtype.RowBytes(m.k())
	raw := make([]byte, (to-from)*stride)
	k := m.in.parts * m.in.dim // of the file
	own := t.tensor.Type.RowBytes(k)
	x := make([]float32, k)
	for i := from; i < to; i++ {
		r := t.out.rowOf(i)
		if r < 0 {
			continue
		}
		src, dst := t.tensor.Data[(t.from+r)*own:][:own], raw[(i-from)*stride:][:stride]
		if m.dtype == t.tensor.Type {
			inside, outside := m.dtype.RowBytes(m.in.dim), m.dtype.RowBytes(m.in.pad)
			for h := range m.in.parts {
				copy(dst[h*outside:], src[h*inside:][:inside])
			}
			continue
		}
		if err := weights.Dequantize(t.tensor.Type, x, src); err != nil {
			return nil, err
		}
		for h := range m.in.parts {
			for j, v := range x[h*m.in.dim:][:m.in.dim] {
				binary.LittleEndian.PutUint16(dst[2*(h*m.in.pad+j):], f16.FromFloat32BF16(v))
			}
		}
	}
	return raw, nil
}
