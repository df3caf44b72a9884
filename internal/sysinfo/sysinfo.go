// Package sysinfo reads what the machine, or the cgroup around the process,
// lets it use.
package sysinfo

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// CPUs returns how many cores the process may use: the affinity mask's, or the
// cgroup's quota rounded down, at least 1. Since Go 1.25 GOMAXPROCS starts as
// just that; it is read once, before anyone changes it.
func CPUs() int { return cpus }

var cpus = max(1, min(runtime.NumCPU(), runtime.GOMAXPROCS(0)))

// AvailableMemory returns the bytes that can still be taken without swapping:
// the smaller of the kernel's estimate and what the cgroups leave.
func AvailableMemory() int64 {
	available := int64(math.MaxInt64)
	if data, err := os.ReadFile("/proc/meminfo"); err == nil {
		if kib, ok := field(string(data), "MemAvailable:"); ok {
			available = kib << 10
		}
	}
	return min(available, cgroupLeft("/sys/fs/cgroup", selfCgroup()))
}

// field returns the number after a name in text of lines "name number …".
func field(text, name string) (int64, bool) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			if f := strings.Fields(rest); len(f) > 0 {
				n, err := strconv.ParseInt(f[0], 10, 64)
				return n, err == nil
			}
		}
	}
	return 0, false
}

// selfCgroup returns the process's cgroup v2 path, "/" if it has none.
func selfCgroup() string {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "/"
	}
	for line := range strings.Lines(string(data)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSpace(path)
		}
	}
	return "/"
}

// cgroupLeft returns the least that the cgroups from path up to the root leave:
// memory.max less memory.current, with the page cache counted as free.
func cgroupLeft(root, path string) int64 {
	left := int64(math.MaxInt64)
	for dir := filepath.Clean("/" + path); ; dir = filepath.Dir(dir) {
		limit, ok := number(filepath.Join(root, dir, "memory.max"))
		used, ok2 := number(filepath.Join(root, dir, "memory.current"))
		if ok && ok2 {
			if data, err := os.ReadFile(filepath.Join(root, dir, "memory.stat")); err == nil {
				file, _ := field(string(data), "file ")
				used -= file
			}
			left = min(left, max(0, limit-used))
		}
		if dir == "/" {
			return left
		}
	}
}

func number(path string) (int64, bool) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	return n, err == nil // "max" is no limit
}
