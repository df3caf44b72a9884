package cuda

import "reflect"

// Kernel is one entry of an image.
type Kernel struct {
	// Name is the symbol in the image of Module.
	Name, Module string
	// Params is the zero value of what the kernel takes.
	Params Params
	// Threads is the size of a block, in x.
	Threads uint32
	// Tile is how much of the parameters' extent a block takes.
	Tile [3]uint32
	// Shared is the dynamic shared memory of a launch, in bytes. Above 48 KiB the
	// function must first be allowed it (MAX_DYNAMIC_SHARED_SIZE_BYTES).
	Shared uint32
	// Registers is the most that a thread may use; none may spill. A test holds
	// the images to it.
	Registers int
}

// Grid returns the blocks of a launch with p, a pointer to the kernel's struct.
func (k *Kernel) Grid(p Params) [3]uint32 {
	grid := p.Extent()
	for i, size := range k.Tile {
		grid[i] = tiles(grid[i], size)
	}
	if k.Module == "gemm" { // whose blocks stand in one row, numbered by the kernel
		return [3]uint32{grid[0] * grid[1], 1, 1}
	}
	return grid
}

// ParamBytes is the size of the kernel's parameter.
func (k *Kernel) ParamBytes() int { return int(reflect.TypeOf(k.Params).Elem().Size()) }

// Lookup returns a kernel by name.
func Lookup(name string) (*Kernel, bool) {
	for i := range Kernels {
		if Kernels[i].Name == name {
			return &Kernels[i], true
		}
	}
	return nil, false
}

// tiles returns how many of size cover n.
func tiles(n, size uint32) uint32 { return (n + size - 1) / size }

// Kernels lists all kernels.
//
// The names say types: of weights (linear_q4_0_8, up to 8 rows), of activations
// (silu_gate_bf16), of activations and cache (rope_f32_f16), of the cache and the
// size of a head (attend_f16_128).
var Kernels = []Kernel{
	{"norm_f32", "elementwise", new(NormParams), 256, one, 0, 32},
	{"norm_bf16", "elementwise", new(NormParams), 256, one, 0, 32},
	{"silu_gate_f32", "elementwise", new(GateParams), 256, line, 0, 32},
	{"silu_gate_bf16", "elementwise", new(GateParams), 256, line, 0, 32},
	{"gelu_gate_f32", "elementwise", new(GateParams), 256, line, 0, 32},
	{"gelu_gate_bf16", "elementwise", new(GateParams), 256, line, 0, 32},
	{"soft_cap_f32", "elementwise", new(SoftCapParams), 256, [3]uint32{256, 1, 1}, 0, 32},
	{"rope_f32_f16", "elementwise", new(RoPEParams), 256, one, 0, 40},
	{"rope_f32_bf16", "elementwise", new(RoPEParams), 256, one, 0, 40},
	{"rope_bf16_f16", "elementwise", new(RoPEParams), 256, one, 0, 40},
	{"rope_bf16_bf16", "elementwise", new(RoPEParams), 256, one, 0, 40},
	{"copy_blocks", "elementwise", new(CopyParams), 256, line, 0, 40},

	{"embed_bf16", "embed", new(EmbedParams), 256, one, 0, 32},
	{"embed_q8_0", "embed", new(EmbedParams), 256, one, 0, 32},
	{"embed_q4_0", "embed", new(EmbedParams), 256, one, 0, 32},
	{"embed_q4_k", "embed", new(EmbedParams), 256, one, 0, 40},
	{"unpack_q8_0", "embed", new(UnpackParams), 256, line, 0, 32},
	{"unpack_q4_0", "embed", new(UnpackParams), 256, line, 0, 32},
	{"unpack_q4_k", "embed", new(UnpackParams), 256, line, 0, 40},

	// Rows of x: up to 8, up to 16, any number (by 64).
	{"linear_bf16_8", "linear", new(LinearParams), 256, [3]uint32{16, 8, 1}, 65536, 64},
	{"linear_bf16_16", "linear", new(LinearParams), 256, [3]uint32{32, 16, 1}, 98304, 80},
	{"linear_bf16_64", "linear", new(LinearParams), 256, [3]uint32{64, 64, 1}, 131072, 255},
	{"linear_q8_0_8", "linear", new(LinearParams), 256, [3]uint32{16, 8, 1}, 52224, 64},
	{"linear_q8_0_16", "linear", new(LinearParams), 256, [3]uint32{32, 16, 1}, 69632, 80},
	{"linear_q8_0_64", "linear", new(LinearParams), 256, [3]uint32{64, 64, 1}, 131072, 255},
	{"linear_q4_0_8", "linear", new(LinearParams), 256, [3]uint32{16, 8, 1}, 36864, 64},
	{"linear_q4_0_16", "linear", new(LinearParams), 256, [3]uint32{32, 16, 1}, 55296, 80},
	{"linear_q4_0_64", "linear", new(LinearParams), 256, [3]uint32{64, 64, 1}, 131072, 255},
	{"linear_q4_k_8", "linear", new(LinearParams), 256, [3]uint32{16, 8, 1}, 56832, 64},
	{"linear_q4_k_16", "linear", new(LinearParams), 256, [3]uint32{32, 16, 1}, 75776, 80},
	{"linear_q4_k_64", "linear", new(LinearParams), 256, [3]uint32{64, 64, 1}, 151552, 255},

	{"gemm_64x64", "gemm", new(GEMMParams), 128, [3]uint32{64, 64, 1}, 49152, 128},
	{"gemm_128x256", "gemm", new(GEMMParams), 256, [3]uint32{256, 128, 1}, 147456, 255},

	{"attend_f16_64", "attend", new(AttendParams), 128, queries, 40960, 200},
	{"attend_f16_128", "attend", new(AttendParams), 128, queries, 81920, 240},
	{"attend_f16_256", "attend", new(AttendParams), 128, queries, 163840, 240},
	{"attend_bf16_64", "attend", new(AttendParams), 128, queries, 40960, 200},
	{"attend_bf16_128", "attend", new(AttendParams), 128, queries, 81920, 240},
	{"attend_bf16_256", "attend", new(AttendParams), 128, queries, 163840, 240},

	{"decode_f16_64", "decode", new(DecodeParams), 128, one, 34816, 128},
	{"decode_f16_128", "decode", new(DecodeParams), 128, one, 69632, 128},
	{"decode_f16_256", "decode", new(DecodeParams), 128, one, 139264, 128},
	{"decode_bf16_64", "decode", new(DecodeParams), 128, one, 34816, 128},
	{"decode_bf16_128", "decode", new(DecodeParams), 128, one, 69632, 128},
	{"decode_bf16_256", "decode", new(DecodeParams), 128, one, 139264, 128},
	{"decode_merge_64", "decode", new(MergeParams), 64, one, 0, 40},
	{"decode_merge_128", "decode", new(MergeParams), 128, one, 0, 40},
	{"decode_merge_256", "decode", new(MergeParams), 256, one, 0, 40},

	{"sample_adjust", "sample", new(AdjustParams), 256, [3]uint32{256, 1, 1}, 0, 40},
	{"sample_top", "sample", new(SampleParams), 1024, wholeRow, 0, 64},
	{"sample_weigh", "sample", new(SampleParams), 256, [3]uint32{4096, 1, 1}, 0, 64},
	{"sample_pick", "sample", new(SampleParams), 1024, wholeRow, 0, 64},
}

// Tiles that several kernels have.
var (
	one      = [3]uint32{1, 1, 1}
	line     = [3]uint32{1024, 1, 1}    // elements; of copy_blocks, units of 16 bytes
	queries  = [3]uint32{64, 1, 1}      // queries that share a KV head
	wholeRow = [3]uint32{1 << 20, 1, 1} // sampler.MaxVocabulary
)
