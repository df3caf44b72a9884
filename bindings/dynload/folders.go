package dynload

import "runtime"

// DriverFolders returns where a driver's libraries lie, the best first: places
// that a container runtime mounts them to, then the distributions' own.
func DriverFolders() []string {
	return append([]string{
		"/usr/local/nvidia/lib64", // device plugins of Kubernetes
		"/run/opengl-driver/lib",  // NixOS
		"/usr/lib/wsl/lib",        // Windows' Linux subsystem
	}, systemFolders()...)
}

// ToolkitFolders returns where the CUDA toolkit's libraries lie, the best first.
func ToolkitFolders() []string {
	target := "/targets/" + machine() + "-linux/lib"
	if runtime.GOARCH == "arm64" {
		target = "/targets/sbsa-linux/lib"
	}
	return append([]string{
		"/usr/local/cuda/lib64",
		"/usr/local/cuda" + target,
		"/usr/local/cuda-13/lib64",
		"/usr/local/cuda-13" + target,
		"/opt/cuda/lib64", // Arch Linux
	}, systemFolders()...)
}

func systemFolders() []string {
	return []string{"/usr/lib/" + machine() + "-linux-gnu", "/usr/lib64", "/usr/lib"}
}

// machine is the processor as folder names have it.
func machine() string {
	if runtime.GOARCH == "arm64" {
		return "aarch64"
	}
	return "x86_64"
}
