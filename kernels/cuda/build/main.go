// Command build compiles the CUDA sources of kernels/cuda with NVRTC and writes
// the images that the package embeds, after the header that both languages share.
// It needs no GPU:
//
//	sh scripts/cuda-wheels.sh
//	go run ./kernels/cuda/build -nvrtc build/cuda/nvidia/cu13/lib -dir kernels/cuda
package main

import (
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/holdfast-run/holdfast/bindings/nvrtc"
	"github.com/holdfast-run/holdfast/kernels/cuda"
)

func main() {
	folder := flag.String("nvrtc", "build/cuda/nvidia/cu13/lib", "folder of libnvrtc")
	dir := flag.String("dir", "kernels/cuda", "folder of the package")
	flag.Parse()
	if err := run(*folder, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func run(folder, dir string) error {
	if err := os.WriteFile(filepath.Join(dir, "src", cuda.HeaderFile), []byte(cuda.Header()), 0o644); err != nil {
		return err
	}
	src, err := sources(filepath.Join(dir, "src"))
	if err != nil {
		return err
	}
	c, err := open(folder)
	if err != nil {
		return err
	}
	for _, module := range cuda.Modules {
		for _, arch := range cuda.Archs {
			image, err := src.compile(c, module, arch)
			if err != nil {
				return err
			}
			if err := write(dir, cuda.ImageFile(module, arch, "cubin"), image.Cubin); err != nil {
				return err
			}
			if err := write(dir, cuda.ImageFile(module, arch, "ptx"), image.PTX); err != nil {
				return err
			}
			fmt.Printf("%s %s: cubin %d bytes, PTX %d bytes\n", module, arch, len(image.Cubin), len(image.PTX))
		}
	}
	return os.WriteFile(filepath.Join(dir, cuda.DigestFile), []byte(cuda.Digest(src.files)+"\n"), 0o644)
}

// open loads the compiler.
func open(folder string) (*nvrtc.Compiler, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	c, err := nvrtc.Open(folder)
	if err == nil && (c.Major != cuda.NVRTCMajor || c.Minor != cuda.NVRTCMinor) {
		return nil, fmt.Errorf("NVRTC in %s is %d.%d, want %d.%d: run scripts/cuda-wheels.sh", folder, c.Major, c.Minor, cuda.NVRTCMajor, cuda.NVRTCMinor)
	}
	return c, err
}

// source is the folder src/.
type source struct {
	files   map[string][]byte
	headers []nvrtc.Header
}

func sources(dir string) (source, error) {
	s := source{files: map[string][]byte{}}
	files, err := os.ReadDir(dir)
	if err != nil {
		return s, err
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return s, err
		}
		s.files[f.Name()] = text
		if filepath.Ext(f.Name()) == ".cuh" {
			s.headers = append(s.headers, nvrtc.Header{Name: f.Name(), Text: string(text)})
		}
	}
	return s, nil
}

// compile compiles a module; the log has the resources that its kernels use.
func (s source) compile(c *nvrtc.Compiler, module, arch string) (nvrtc.Image, error) {
	name := module + ".cu"
	return c.Compile(nvrtc.Program{
		Name: name, Source: string(s.files[name]), Arch: arch, Headers: s.headers, Options: cuda.Options,
	})
}

// write writes data compressed, unless the file holds the same already: what
// compression gives may differ between versions of Go.
func write(dir, name string, data []byte) error {
	path := filepath.Join(dir, name)
	if old, err := os.ReadFile(path); err == nil {
		if old, err = cuda.Decompress(old); err == nil && bytes.Equal(old, data) {
			return nil
		}
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(data); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}
