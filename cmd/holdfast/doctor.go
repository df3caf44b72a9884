package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"

	"github.com/holdfast-run/holdfast/bindings/probe"
	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/internal/sysinfo"
	kernels "github.com/holdfast-run/holdfast/kernels/cpu"
)

type doctorCmd struct {
	Model   string `placeholder:"PATH" help:"Also print the memory plan of this model."`
	Threads int    `placeholder:"N" help:"Compute threads that the plan is for. Default: all cores that the process may use."`
	Context int    `placeholder:"N" help:"Context that the plan is for. Default: as in serve."`
}

// Help is shown by 'holdfast doctor --help'.
func (doctorCmd) Help() string {
	return `Prints what the machine has that matters here: instruction sets and the kernels chosen for them, cores, memory and limits of the container, which libraries of vendors there are, and the GPUs. It loads NVIDIA's libraries and asks the driver; on a GPU it allocates nothing. A library that is missing is no fault by itself; the text beside it says what it means.

Example:
  holdfast doctor --model models/SmolLM2-135M-Instruct.Q4_1.gguf`
}

// Run prints the findings. What is wrong is said; only a model that cannot be
// planned is an error.
func (c *doctorCmd) Run(std streams) error {
	w := bufio.NewWriter(std.out)
	defer w.Flush()
	doctorCPU(w)
	doctorMemory(w)
	doctorNVIDIA(w, probe.Open(probe.Folders{}))
	doctorLibraries(w)
	if c.Model == "" {
		return nil
	}
	cfg := engine.Config{ModelPath: c.Model, Threads: c.Threads, ContextLength: c.Context}
	plan, err := engine.MakePlan(cfg)
	if err != nil {
		return modelError(cfg, err)
	}
	printPlan(w, plan)
	return nil
}

func row(w io.Writer, name, format string, args ...any) {
	fmt.Fprintf(w, "  %-18s %s\n", name, fmt.Sprintf(format, args...))
}

func doctorCPU(w io.Writer) {
	fmt.Fprintln(w, "processor:")
	row(w, "model", "%s (%s/%s)", cpuModel(), runtime.GOOS, runtime.GOARCH)
	var have []string
	for _, f := range []struct {
		name string
		has  bool
	}{
		{"avx2", cpu.X86.HasAVX2}, {"fma", cpu.X86.HasFMA}, {"avx512f", cpu.X86.HasAVX512F}, {"avx512bw", cpu.X86.HasAVX512BW},
		{"avx512vl", cpu.X86.HasAVX512VL}, {"avx512dq", cpu.X86.HasAVX512DQ}, {"avx512-vnni", cpu.X86.HasAVX512VNNI},
		{"avx512-bf16", cpu.X86.HasAVX512BF16}, {"amx-int8", cpu.X86.HasAMXInt8},
		{"asimd", cpu.ARM64.HasASIMD}, {"asimddp", cpu.ARM64.HasASIMDDP}, {"sve", cpu.ARM64.HasSVE},
	} {
		if f.has {
			have = append(have, f.name)
		}
	}
	row(w, "features", "%s", orNone(strings.Join(have, " ")))
	if k, err := kernels.Select(); err != nil {
		row(w, "kernels", "none: %v", err)
	} else {
		row(w, "kernels", "%v, of %v; %s=NAME forces another; all give the same bits", k.Tier, kernels.Tiers(), kernels.TierVariable)
	}
	row(w, "cores", "%d that this process may use, of %d online", sysinfo.CPUs(), onlineCPUs())
	if quota := readLine("/sys/fs/cgroup/cpu.max"); quota != "" {
		row(w, "cgroup cpu.max", "%s (quota and period in microseconds)", quota)
	}
}

func doctorMemory(w io.Writer) {
	fmt.Fprintln(w, "memory:")
	row(w, "available", "%s, which the memory plan must fit", bytesText(sysinfo.AvailableMemory()))
	if total := meminfo("MemTotal:"); total != "" {
		row(w, "machine", "%s", total)
	}
	if limit := readLine("/sys/fs/cgroup/memory.max"); limit != "" {
		row(w, "cgroup memory.max", "%s", limit)
	}
	if huge := readLine("/sys/kernel/mm/transparent_hugepage/enabled"); huge != "" {
		row(w, "huge pages", "%s (madvise or always is best)", huge)
	}
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil {
		row(w, "open files", "at most %d; each client's connection takes one", files.Cur)
	}
}

// driverTimeout is how long doctor waits for a driver to answer: with many GPUs and
// no persistence daemon a start takes seconds.
const driverTimeout = 30 * time.Second

// doctorNVIDIA prints NVIDIA's libraries and the GPUs, and what stands in the way of
// using them.
func doctorNVIDIA(w io.Writer, libs *probe.Libraries) {
	fmt.Fprintln(w, "NVIDIA (--device cuda; no GPU has run it yet, see docs/CUDA.md):")
	for _, s := range libs.Software() {
		if s.Err != nil {
			row(w, s.Name, "not usable (%s): %s", s.Purpose, trim(s.Err))
		} else {
			row(w, s.Name, "%s %s", s.Version, s.Path)
		}
	}
	if libs.CUDA == nil {
		row(w, "GPUs", "none without libcuda")
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), driverTimeout)
	defer cancel()
	gpus, err := libs.GPUs(ctx)
	if err != nil {
		row(w, "GPUs", "none: %s", trim(err))
		return
	}
	for i, g := range gpus {
		row(w, fmt.Sprintf("GPU %d", i), "%s, %s, compute capability %d.%d%s", g.Name, bytesText(int64(g.MemoryBytes)), g.Major, g.Minor, kernelsFor(g.Major))
		row(w, "", "%s at %s, driver %s, %d multiprocessors, %s of shared memory a block", g.UUID, g.PCIBusID, orNone(g.DriverVersion), g.Multiprocessors, bytesText(int64(g.SharedPerBlockBytes)))
		if g.UsedBytes != probe.Unknown {
			row(w, "", "%s in use, busy %d %%, %d uncorrected memory errors", bytesText(g.UsedBytes), g.BusyPercent, g.UncorrectedErrors)
		}
	}
}

// kernelsFor says where a GPU's kernels come from.
func kernelsFor(major int) string {
	switch {
	case major < 8:
		return ": too old, 8.0 is the least"
	case major <= 9:
		return ": kernels are built in"
	}
	return ": the driver compiles the kernels at the first start"
}

// libraries are those that other accelerators' vendors bring, and what it means that
// one is missing.
var libraries = []struct{ name, without string }{
	{"libnrt.so.1", "no AWS Neuron runtime: no Trainium or Inferentia device can be used"},
}

func doctorLibraries(w io.Writer) {
	fmt.Fprintln(w, "other vendors' libraries (found, not loaded: this version does not use them):")
	dirs := libraryDirs("/")
	cache := cachedLibraries("/etc/ld.so.cache")
	for _, l := range libraries {
		if path := findLibrary(l.name, dirs, cache); path != "" {
			row(w, l.name, "%s", path)
		} else {
			row(w, l.name, "not found: %s", l.without)
		}
	}
}

// libraryDirs lists the folders in which the dynamic linker looks, and those in
// which vendors install.
func libraryDirs(root string) []string {
	dirs := filepath.SplitList(os.Getenv("LD_LIBRARY_PATH"))
	for _, d := range []string{
		"lib64", "usr/lib64", "lib", "usr/lib", "lib/*-linux-gnu", "usr/lib/*-linux-gnu", "usr/local/lib",
		"usr/local/cuda/lib64", "usr/local/cuda*/targets/*/lib", "usr/local/nvidia/lib64", "usr/lib/wsl/lib", "opt/aws/neuron/lib",
	} {
		found, _ := filepath.Glob(filepath.Join(root, d)) // the pattern is right
		dirs = append(dirs, found...)
	}
	return dirs
}

// cachedLibraries returns the paths in the dynamic linker's cache, a file that
// holds them as strings that end in a zero byte.
func cachedLibraries(path string) []string {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var paths []string
	for s := range strings.SplitSeq(string(data), "\x00") {
		if strings.HasPrefix(s, "/") && strings.Contains(s, ".so") {
			paths = append(paths, s)
		}
	}
	return paths
}

// findLibrary returns the path of a library, with any version after the name,
// or "".
func findLibrary(name string, dirs, cache []string) string {
	for _, d := range dirs {
		found, _ := filepath.Glob(filepath.Join(d, name+"*"))
		for _, f := range found {
			if isVersionOf(filepath.Base(f), name) {
				return f
			}
		}
	}
	for _, p := range cache {
		if isVersionOf(filepath.Base(p), name) {
			if _, err := os.Stat(p); err == nil {
				return p
			}
		}
	}
	return ""
}

// isVersionOf reports whether file is name or name followed by a version.
func isVersionOf(file, name string) bool {
	rest, ok := strings.CutPrefix(file, name)
	return ok && (rest == "" || rest[0] == '.')
}

func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
				return strings.TrimSpace(value)
			}
		}
	}
	return "unknown"
}

func onlineCPUs() int {
	n := 0
	for part := range strings.SplitSeq(readLine("/sys/devices/system/cpu/online"), ",") {
		var lo, hi int
		switch k, _ := fmt.Sscanf(part, "%d-%d", &lo, &hi); k {
		case 2:
			n += hi - lo + 1
		case 1:
			n++
		}
	}
	return max(n, runtime.NumCPU())
}

func meminfo(name string) string {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name); ok {
			var kib int64
			if _, err := fmt.Sscan(rest, &kib); err == nil {
				return bytesText(kib << 10)
			}
		}
	}
	return ""
}

// readLine returns the first line of a file, or "".
func readLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(line)
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
