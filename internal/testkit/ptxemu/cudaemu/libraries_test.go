package cudaemu

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/holdfast-run/holdfast/bindings/cublaslt"
	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/bindings/nvml"
	"github.com/holdfast-run/holdfast/internal/f16"
)

// TestMatmul compares every transposition, with leading dimensions and a C.
func TestMatmul(t *testing.T) {
	g := start(t, Options{Seed: 2})
	lib, err := cublaslt.New(g.emu.BlasSymbols())
	g.ok(err)
	h, err := lib.Create()
	g.ok(err)
	s, rng := g.stream(), rand.New(rand.NewPCG(5, 6))
	const m, n, k = 5, 7, 11
	workspace := g.alloc(1 << 16)
	put := func(rows, cols, ld int) (cuda.DevicePtr, func(r, c int) float64) {
		v := make([]uint16, ld*cols)
		for i := range v {
			v[i] = f16.FromFloat32BF16(rng.Float32() - 0.5)
		}
		b, _ := binary.Append(nil, binary.LittleEndian, v)
		p := g.alloc(uint64(len(b)))
		g.ok(g.MemcpyHtoD(p, b))
		return p, func(r, c int) float64 { return float64(f16.BF16ToFloat32(v[r+c*ld])) }
	}
	for i := range 4 {
		ta, tb := i&1 != 0, i&2 != 0
		p := cublaslt.Problem{TransposeA: ta, TransposeB: tb,
			A: cublaslt.Matrix{Type: cublaslt.BF16, Rows: m, Cols: k, LD: m + 3},
			B: cublaslt.Matrix{Type: cublaslt.BF16, Rows: k, Cols: n, LD: k + 1},
			D: cublaslt.Matrix{Type: cublaslt.F32, Rows: m, Cols: n, LD: m + 1}}
		if ta {
			p.A = cublaslt.Matrix{Type: cublaslt.BF16, Rows: k, Cols: m, LD: k}
		}
		if tb {
			p.B = cublaslt.Matrix{Type: cublaslt.BF16, Rows: n, Cols: k, LD: n + 2}
		}
		a, atA := put(int(p.A.Rows), int(p.A.Cols), int(p.A.LD))
		b, atB := put(int(p.B.Rows), int(p.B.Cols), int(p.B.LD))
		d := g.alloc((m + 1) * n * 4)
		g.ok(g.MemsetD32Async(d, math.Float32bits(2), (m+1)*n, s))
		mm, err := lib.NewMatmul(p)
		g.ok(err)
		_, err = mm.Heuristic(h, cublaslt.Limits{WorkspaceBytes: 16, AlignBytes: 16})
		if !errors.Is(err, cublaslt.NotSupported) {
			t.Error(err)
		}
		algo, err := mm.Heuristic(h, cublaslt.Limits{WorkspaceBytes: 1 << 16, AlignBytes: 16})
		g.ok(err)
		o := cublaslt.Operands{A: a, B: b, C: d, D: d, Alpha: 3, Beta: 0.5, Workspace: workspace, WorkspaceBytes: algo.WorkspaceBytes}
		g.ok(mm.Run(h, algo, o, s))
		g.ok(g.StreamSynchronize(s))
		out := make([]byte, (m+1)*n*4)
		g.ok(g.MemcpyDtoH(out, d))
		for c := range n {
			for r := range m + 1 {
				want := 2.0 // between the columns
				if r < m {
					want = 1
					for x := range k {
						ar, ac, br, bc := r, x, x, c
						if ta {
							ar, ac = ac, ar
						}
						if tb {
							br, bc = bc, br
						}
						want += 3 * atA(ar, ac) * atB(br, bc)
					}
				}
				got := float64(math.Float32frombits(binary.LittleEndian.Uint32(out[4*(r+c*(m+1)):])))
				if math.Abs(got-want) > 1e-6 {
					t.Fatalf("transpositions %v %v: D[%d][%d] = %g, not %g", ta, tb, r, c, got, want)
				}
			}
		}
		o.A += 2
		if err := mm.Run(h, algo, o, s); !errors.Is(err, cublaslt.InvalidValue) {
			t.Errorf("a misaligned operand was taken: %v", err)
		}
		o.A, o.WorkspaceBytes = a, 0
		if err := mm.Run(h, algo, o, s); !errors.Is(err, cublaslt.InvalidValue) {
			t.Errorf("no workspace was taken: %v", err)
		}
		other, err := lib.NewMatmul(p)
		g.ok(err)
		o.WorkspaceBytes = algo.WorkspaceBytes
		if err := other.Run(h, algo, o, s); !errors.Is(err, cublaslt.InvalidValue) {
			t.Errorf("another problem's algorithm was taken: %v", err)
		}
		g.ok(errors.Join(mm.Close(), other.Close()))
	}
	bad := cublaslt.Matrix{Type: cublaslt.BF16, Rows: 4, Cols: 4, LD: 3}
	if _, err := lib.NewMatmul(cublaslt.Problem{A: bad, B: bad, D: bad}); !errors.Is(err, cublaslt.InvalidValue) {
		t.Error(err)
	}
	g.ok(lib.Destroy(h))
	if n := g.emu.Leaks()["cuBLASLt objects"]; n != 0 {
		t.Errorf("%d objects left", n)
	}
}

func TestNVML(t *testing.T) {
	g := start(t, Options{MemoryBytes: 1 << 20})
	lib, err := nvml.New(g.emu.NVMLSymbols())
	g.ok(err)
	if _, err := lib.DeviceGetCount(); !errors.Is(err, nvml.Uninitialized) {
		t.Error(err)
	}
	g.ok(lib.Init())
	g.alloc(1 << 12)
	info, err := g.DeviceInfo(0)
	g.ok(err)
	d, err := lib.DeviceGetHandleByPCIBusID(info.PCIBusID)
	g.ok(err)
	if id, err := lib.DeviceGetUUID(d); id != info.UUID || err != nil {
		t.Errorf("%s, and %s of the driver: %v", id, info.UUID, err)
	}
	if m, err := lib.DeviceGetMemoryInfo(d); m.Used != 1<<12 || m.Total != 1<<20 || m.Free != m.Total-m.Used || err != nil {
		t.Error(m, err)
	}
	if name, err := lib.DeviceGetName(d); name != info.Name || err != nil {
		t.Error(name, err)
	}
	if _, err := lib.DeviceGetName(d + 1); !errors.Is(err, nvml.InvalidArgument) {
		t.Error(err)
	}
	_, err = lib.DeviceGetHandleByPCIBusID("0000:99:00.0")
	if !errors.Is(err, nvml.NotFound) {
		t.Error(err)
	}
	if now, _, err := lib.DeviceGetEccMode(d); !now || err != nil {
		t.Error(err)
	}
	g.ok(lib.Shutdown())
}
