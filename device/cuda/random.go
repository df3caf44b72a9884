package cuda

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/f16"
	kernels "github.com/holdfast-run/holdfast/kernels/cuda"
)

// randomWeights makes weights up, for Backend.RandomWeights: sixteen random rows of
// each matrix, repeated over it by the device; norms of ones, no biases.
func (p *program) randomWeights() (err error) {
	size := granule
	for _, m := range p.matrices {
		size = max(size, m.tileBytes())
	}
	for _, v := range p.vectors {
		size = max(size, 4*v.n())
	}
	u, err := p.newUpload(size)
	if err != nil {
		return err
	}
	defer u.close()
	defer func() {
		if e := p.driver.StreamSynchronize(p.compute.stream); err == nil {
			err = p.fail("random weights", e)
		}
	}()
	rng := rand.New(rand.NewPCG(1, 1))
	for _, m := range p.matrices {
		tile := make([]byte, m.tileBytes())
		kernels.Pack(tile, m.dtype, kernels.TileRows, m.k(), randomRows(rng, m.dtype, m.k()), 0, 1)
		done := min(len(tile), m.bytes)
		if err := u.put(m.at, tile[:done]); err != nil {
			return err
		}
		for done < m.bytes {
			n := min(done, m.bytes-done)
			if err := p.driver.MemcpyDtoDAsync(devicePtr(m.at+kernels.Ptr(done)), devicePtr(m.at), uint64(n), p.compute.stream); err != nil {
				return p.fail("random weights", err)
			}
			done += n
		}
	}
	for _, v := range p.vectors {
		ones := make([]float32, v.n())
		for i := range ones {
			ones[i] = 1
		}
		if err := u.put(v.at, bytesOf(ones)); err != nil {
			return err
		}
	}
	return p.sendTables(u)
}

// randomRows returns sixteen rows of a type, as a file has them, of about 0.02.
func randomRows(rng *rand.Rand, t graph.DType, k int) []byte {
	raw := make([]byte, kernels.TileRows*t.RowBytes(k))
	for i := range raw {
		raw[i] = byte(rng.Uint32())
	}
	for b := raw; len(b) > 0; b = b[t.BlockBytes():] {
		switch t {
		case graph.BF16:
			binary.LittleEndian.PutUint16(b, f16.FromFloat32BF16(float32(rng.NormFloat64()*0.02)))
		case graph.Q4_K:
			binary.LittleEndian.PutUint16(b, f16.FromFloat32(0.0001))
			binary.LittleEndian.PutUint16(b[2:], f16.FromFloat32(0.0008))
		case graph.Q8_0:
			binary.LittleEndian.PutUint16(b, f16.FromFloat32(0.0003))
		default:
			binary.LittleEndian.PutUint16(b, f16.FromFloat32(0.004))
		}
	}
	return raw
}
