// Package nvrtc compiles CUDA C++ to PTX and to machine code (cubin) with
// NVIDIA's run-time compiler. It needs neither a GPU nor a driver. The worker
// uses it at start for architectures that its own images do not cover;
// kernels/cuda uses it to build those images.
//
//	c, err := nvrtc.Open("") // or the folder that holds libnvrtc.so.13
//	image, err := c.Compile(nvrtc.Program{Name: "add.cu", Source: text, Arch: "sm_90a"})
//
// The compiled headers of CUDA (cuda_fp16.h, cuda_bf16.h, ...) are found by an
// option, --include-path=FOLDER. The language is C++17 unless an option says
// otherwise; there are no C library headers.
package nvrtc
