package cuda

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
)

//go:embed images/*.gz
var images embed.FS

//go:embed src/*.cu src/*.cuh
var sources embed.FS

// Sources returns the files of src/ by name, for a compiler at run time: NVRTC makes
// a module's image of <module>.cu, with the .cuh files as headers.
func Sources() map[string][]byte {
	files := map[string][]byte{}
	list, _ := sources.ReadDir("src") // embedded: neither can fail
	for _, f := range list {
		files[f.Name()], _ = sources.ReadFile("src/" + f.Name())
	}
	return files
}

// Modules are the images, each made of src/<module>.cu. A context loads all.
var Modules = []string{"elementwise", "embed", "linear", "gemm", "decode", "attend", "sample"}

// Archs are the architectures that images are compiled for. A cubin of sm_80 runs on
// every GPU of compute capability 8.x, one of sm_90a on 9.0 alone.
var Archs = []string{"sm_80", "sm_90a"}

// The compiler of the images: CUDA 13.0, whose cubins driver 580 and later load.
const (
	NVRTCMajor = 13
	NVRTCMinor = 0
)

// Options are the compiler's, beside the architecture.
var Options = []string{"--std=c++17", "--ptxas-options=-v"}

// DigestFile holds Digest of what the images were made of.
const DigestFile = "images/SOURCE"

// Digest returns the SHA-256, in hex, of all that the images are made of: the files
// of src/, by name, the compiler's version and options.
func Digest(files map[string][]byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "NVRTC %d.%d %q %q %q\n", NVRTCMajor, NVRTCMinor, Options, Modules, Archs)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%q %d\n", name, len(files[name]))
		h.Write(files[name])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// HeaderFile is the file of src/ that Header gives.
const HeaderFile = "params.cuh"

// maxImage bounds a decompressed image, in bytes.
const maxImage = 8 << 20

// ImageFile returns the path of an image in the package's folder. kind is "cubin"
// or "ptx".
func ImageFile(module, arch, kind string) string {
	return fmt.Sprintf("images/%s.%s.%s.gz", module, arch, kind)
}

// Cubin returns a module's machine code for an architecture of Archs.
func Cubin(module, arch string) ([]byte, error) { return load(module, arch, "cubin") }

// PTX returns a module's PTX: that of sm_80 is compiled by a driver for any later
// architecture.
func PTX(module, arch string) ([]byte, error) { return load(module, arch, "ptx") }

func load(module, arch, kind string) ([]byte, error) {
	z, err := images.ReadFile(ImageFile(module, arch, kind))
	if err != nil {
		return nil, fmt.Errorf("cuda: no %s of module %q for %q", kind, module, arch)
	}
	data, err := Decompress(z)
	if err != nil {
		return nil, fmt.Errorf("cuda: %s: %w", ImageFile(module, arch, kind), err)
	}
	return data, nil
}

// Decompress returns the bytes of an image's file.
func Decompress(z []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(z))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, maxImage))
}
