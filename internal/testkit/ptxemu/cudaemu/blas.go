package cudaemu

import (
	"fmt"
	"math"
	"sync"
	"unsafe"

	"github.com/holdfast-run/holdfast/bindings/cublaslt"
	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/bindings/dynload"
	"github.com/holdfast-run/holdfast/internal/f16"
)

// BlasSymbols returns the functions of cuBLASLt, for cublaslt.New. They work on
// the active emulator's context.
func (e *Emulator) BlasSymbols() dynload.Symbols { return blasCallbacks() }

var blasCallbacks = sync.OnceValue(func() dynload.Symbols {
	return bind(cublaslt.Functions(), func(symbol string) func(args []uintptr) uintptr {
		switch symbol {
		case "cublasLtGetVersion":
			return func([]uintptr) uintptr { return 130100 }
		case "cublasLtGetStatusName":
			return func([]uintptr) uintptr { return uintptr(unsafe.Pointer(&statusName[0])) }
		}
		do := blasHandlers[symbol]
		if do == nil {
			panic("cudaemu: BUG: no emulation of " + symbol)
		}
		return func(args []uintptr) uintptr {
			e := active.Load()
			e.mu.Lock()
			defer e.mu.Unlock()
			if e.calls[symbol]++; e.ctx == nil || e.current[thread()] != e.ctx.handle {
				return uintptr(cublaslt.NotInitialized)
			}
			return uintptr(uint32(do(e, args)))
		}
	})
})

var statusName = []byte("CUBLAS_STATUS_EMULATED\x00")

// layout is a cublasLtMatrixLayout_t.
type layout struct {
	typ        cublaslt.DataType
	rows, cols uint64
	ld         int64
}

// product is a cublasLtMatmulDesc_t: which operands are transposed.
type product struct{ a, b bool }

// preference is a cublasLtMatmulPreference_t.
type preference struct {
	workspace uint64
	align     [4]uint32 // of A, B, C, D
}

// algorithm is what Heuristic hands out in the first words of its opaque data:
// enough to tell that Matmul uses it for the problem it was made for.
type algorithm struct {
	magic                 uint64
	desc, a, b, d         uint32 // the lower halves of the handles
	workspace, alignBytes uint64
	_                     [3]uint64
}

const (
	algorithmMagic = 0x656d756c61746564
	workspaceBytes = 4096 // that every algorithm needs, to see that it is given
	blasObjects    = 1 << 16
)

// element sizes of the types, 0 for others.
func elementBytes(t cublaslt.DataType) uint64 {
	switch t {
	case cublaslt.F32:
		return 4
	case cublaslt.F16, cublaslt.BF16:
		return 2
	}
	return 0
}

// object stores something under a new handle.
func (e *Emulator) object(result uintptr, v any) cublaslt.Code {
	if len(e.ctx.blas) >= blasObjects {
		return cublaslt.AllocFailed
	}
	h := e.handle()
	e.ctx.blas[h] = v
	put(result, h)
	return cublaslt.Success
}

// find returns the object of a handle, if it is a T.
func find[T any](e *Emulator, h uintptr) *T {
	v, _ := e.ctx.blas[h].(*T)
	return v
}

func destroy[T any](e *Emulator, a []uintptr) cublaslt.Code {
	if find[T](e, a[0]) == nil {
		return cublaslt.InvalidValue
	}
	delete(e.ctx.blas, a[0])
	return cublaslt.Success
}

type blasHandle struct{}

var blasHandlers = map[string]func(e *Emulator, a []uintptr) cublaslt.Code{
	"cublasLtCreate":  func(e *Emulator, a []uintptr) cublaslt.Code { return e.object(a[0], &blasHandle{}) },
	"cublasLtDestroy": destroy[blasHandle],
	"cublasLtMatmulDescCreate": func(e *Emulator, a []uintptr) cublaslt.Code {
		if a[1] != 68 || a[2] != 0 { // CUBLAS_COMPUTE_32F, scales of CUDA_R_32F
			return cublaslt.NotSupported
		}
		return e.object(a[0], &product{})
	},
	"cublasLtMatmulDescDestroy": destroy[product],
	"cublasLtMatmulDescSetAttribute": func(e *Emulator, a []uintptr) cublaslt.Code {
		p := find[product](e, a[0])
		if p == nil || a[3] != 4 || get[uint32](a[2]) > 1 {
			return cublaslt.InvalidValue
		}
		switch on := get[uint32](a[2]) == 1; a[1] {
		case 3: // CUBLASLT_MATMUL_DESC_TRANSA
			p.a = on
		case 4:
			p.b = on
		default:
			return cublaslt.NotSupported
		}
		return cublaslt.Success
	},
	"cublasLtMatrixLayoutCreate": func(e *Emulator, a []uintptr) cublaslt.Code {
		l := &layout{cublaslt.DataType(int32(a[1])), uint64(a[2]), uint64(a[3]), int64(a[4])}
		if elementBytes(l.typ) == 0 || l.rows == 0 || l.cols == 0 || l.ld < int64(l.rows) || l.rows > 1<<31 || l.cols > 1<<31 {
			return cublaslt.InvalidValue
		}
		return e.object(a[0], l)
	},
	"cublasLtMatrixLayoutDestroy": destroy[layout],
	"cublasLtMatmulPreferenceCreate": func(e *Emulator, a []uintptr) cublaslt.Code {
		return e.object(a[0], &preference{align: [4]uint32{256, 256, 256, 256}})
	},
	"cublasLtMatmulPreferenceDestroy": destroy[preference],
	"cublasLtMatmulPreferenceSetAttribute": func(e *Emulator, a []uintptr) cublaslt.Code {
		p := find[preference](e, a[0])
		switch {
		case p == nil:
			return cublaslt.InvalidValue
		case a[1] == 1 && a[3] == 8: // CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES
			p.workspace = get[uint64](a[2])
		case a[1] >= 5 && a[1] <= 8 && a[3] == 4: // _MIN_ALIGNMENT_A_BYTES and on
			p.align[a[1]-5] = get[uint32](a[2])
		default:
			return cublaslt.InvalidValue
		}
		return cublaslt.Success
	},
	"cublasLtMatmulAlgoGetHeuristic": heuristic,
	"cublasLtMatmul":                 matmul,
}

// gemm is a checked problem: D (m x n) from a sum over k.
type gemm struct {
	desc    *product
	a, b, d *layout
	m, n, k uint64
	handles [4]uintptr // of desc, A, B, D
}

// problem checks that descriptions go together.
func (e *Emulator) problem(desc, a, b, c, d uintptr) (*gemm, bool) {
	s := &gemm{desc: find[product](e, desc), a: find[layout](e, a), b: find[layout](e, b), d: find[layout](e, d), handles: [4]uintptr{desc, a, b, d}}
	lc := find[layout](e, c)
	if s.desc == nil || s.a == nil || s.b == nil || s.d == nil || lc == nil || *lc != *s.d || s.a.typ != s.b.typ {
		return nil, false
	}
	kb := s.b.rows
	s.m, s.k, s.n = s.a.rows, s.a.cols, s.b.cols
	if s.desc.a {
		s.m, s.k = s.k, s.m
	}
	if s.desc.b {
		kb, s.n = s.n, kb
	}
	return s, s.m == s.d.rows && s.n == s.d.cols && kb == s.k
}

func (s *gemm) algorithm(p *preference) algorithm {
	h := s.handles
	al := min(p.align[0], p.align[1], p.align[2], p.align[3])
	return algorithm{magic: algorithmMagic, desc: uint32(h[0]), a: uint32(h[1]), b: uint32(h[2]), d: uint32(h[3]), workspace: workspaceBytes, alignBytes: uint64(al)}
}

// heuristicResult is cublasLtMatmulHeuristicResult_t.
type heuristicResult struct {
	algo      algorithm
	workspace uint64
	state     int32
	waves     float32
	_         [4]int32
}

func heuristic(e *Emulator, a []uintptr) cublaslt.Code {
	s, fits := e.problem(a[1], a[2], a[3], a[4], a[5])
	p := find[preference](e, a[6])
	if !fits || p == nil || find[blasHandle](e, a[0]) == nil || int32(a[7]) < 1 {
		return cublaslt.InvalidValue
	}
	put(a[9], int32(0))
	if p.workspace < workspaceBytes {
		return cublaslt.NotSupported
	}
	put(a[8], heuristicResult{algo: s.algorithm(p), workspace: workspaceBytes, waves: 1})
	put(a[9], int32(1))
	return cublaslt.Success
}

// matmul queues a product. Its scales are read now, its matrices when it runs.
func matmul(e *Emulator, a []uintptr) cublaslt.Code {
	s, fits := e.problem(a[1], a[4], a[6], a[9], a[11])
	if !fits || find[blasHandle](e, a[0]) == nil || a[12] == 0 {
		return cublaslt.InvalidValue
	}
	alpha, beta := get[float32](a[2]), get[float32](a[7])
	algo := get[algorithm](a[12])
	made := s.algorithm(&preference{})
	if made.alignBytes = algo.alignBytes; algo.alignBytes == 0 || algo != made {
		return cublaslt.InvalidValue // an algorithm of another problem
	}
	if uint64(a[14]) < workspaceBytes || !e.valid(span{address: a[13], bytes: workspaceBytes}) {
		return cublaslt.InvalidValue
	}
	operands := [4]uintptr{a[3], a[5], a[8], a[10]}
	for i, l := range []*layout{s.a, s.b, s.d, s.d} {
		if i == 2 && beta == 0 {
			continue
		}
		if uint64(operands[i])%algo.alignBytes != 0 || !e.valid(span{address: operands[i], bytes: l.bytes()}) {
			return cublaslt.InvalidValue
		}
	}
	code := e.queue(a[15], work{kind: cuda.NodeKernel, run: func() error { return e.multiply(s, operands, float64(alpha), float64(beta)) }})
	if code != cuda.Success {
		return cublaslt.ExecutionFailed
	}
	return cublaslt.Success
}

// bytes is the extent in memory.
func (l *layout) bytes() int {
	return int((uint64(l.ld)*(l.cols-1) + l.rows) * elementBytes(l.typ))
}

// matrix fetches one.
func (e *Emulator) matrix(l *layout, address uintptr) ([]byte, error) {
	b := make([]byte, l.bytes())
	if err := e.ctx.mem.Read(uint64(address), b); err != nil {
		return nil, fmt.Errorf("cublasLtMatmul: %w", err)
	}
	return b, nil
}

func (l *layout) at(b []byte, row, col uint64) float64 {
	i := (row + col*uint64(l.ld)) * elementBytes(l.typ)
	switch half := uint16(b[i]) | uint16(b[i+1])<<8; l.typ {
	case cublaslt.F16:
		return float64(f16.ToFloat32(half))
	case cublaslt.BF16:
		return float64(f16.BF16ToFloat32(half))
	}
	return float64(math.Float32frombits(uint32(b[i]) | uint32(b[i+1])<<8 | uint32(b[i+2])<<16 | uint32(b[i+3])<<24))
}

func (l *layout) set(b []byte, row, col uint64, v float64) {
	i := (row + col*uint64(l.ld)) * elementBytes(l.typ)
	var bits uint32
	switch l.typ {
	case cublaslt.F16:
		bits = uint32(f16.FromFloat32(float32(v)))
	case cublaslt.BF16:
		bits = uint32(f16.FromFloat32BF16(float32(v)))
	default:
		bits = math.Float32bits(float32(v))
	}
	for k := range elementBytes(l.typ) {
		b[i+k] = byte(bits >> (8 * k))
	}
}

// multiply writes alpha op(A) op(B) + beta C to D. What lies between D's columns
// is kept.
func (e *Emulator) multiply(s *gemm, operands [4]uintptr, alpha, beta float64) error {
	a, err := e.matrix(s.a, operands[0])
	if err != nil {
		return err
	}
	b, err := e.matrix(s.b, operands[1])
	if err != nil {
		return err
	}
	d, err := e.matrix(s.d, operands[3])
	if err != nil {
		return err
	}
	c := d
	if beta != 0 {
		if c, err = e.matrix(s.d, operands[2]); err != nil {
			return err
		}
	}
	rowsA, colsB := s.unpack(a, b)
	for j := range s.n {
		for i := range s.m {
			sum := 0.0
			for k, x := range rowsA[i*s.k : (i+1)*s.k] {
				sum += x * colsB[j*s.k+uint64(k)]
			}
			sum *= alpha
			if beta != 0 {
				sum += beta * s.d.at(c, i, j)
			}
			s.d.set(d, i, j, sum)
		}
	}
	return e.ctx.mem.Write(uint64(operands[3]), d)
}

// unpack returns op(A) by rows and op(B) by columns.
func (s *gemm) unpack(a, b []byte) (rowsA, colsB []float64) {
	rowsA, colsB = make([]float64, s.m*s.k), make([]float64, s.n*s.k)
	for i := range s.m {
		for k := range s.k {
			if s.desc.a {
				rowsA[i*s.k+k] = s.a.at(a, k, i)
			} else {
				rowsA[i*s.k+k] = s.a.at(a, i, k)
			}
		}
	}
	for j := range s.n {
		for k := range s.k {
			if s.desc.b {
				colsB[j*s.k+k] = s.b.at(b, j, k)
			} else {
				colsB[j*s.k+k] = s.b.at(b, k, j)
			}
		}
	}
	return rowsA, colsB
}
