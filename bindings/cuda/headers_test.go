package cuda

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/holdfast-run/holdfast/bindings/internal/cheader"
)

// TestSignatures holds the table against NVIDIA's cudaTypedefs.h, which has every
// version of every function.
func TestSignatures(t *testing.T) {
	h := cheader.Read(t, "cuda.h", "cudaTypedefs.h")
	for _, f := range funcs {
		base, _, _ := strings.Cut(f.Symbol, "_v")
		want, err := h.FuncType(fmt.Sprintf("PFN_%s_v%d", base, f.Version))
		if err != nil {
			t.Error(err)
		} else if want != f.Args {
			t.Errorf("%s takes %q, the table says %q", f.Symbol, want, f.Args)
		}
	}
}

// TestSuffixes holds each symbol's suffix against its version: the first version
// of a function has the bare name, the second _v2, and so on.
func TestSuffixes(t *testing.T) {
	cheader.Read(t, "cudaTypedefs.h")
	b, err := os.ReadFile(filepath.Join(cheader.Folder, "cudaTypedefs.h"))
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string][]int{}
	for _, m := range regexp.MustCompile(`\*PFN_(\w+)_v(\d+)\)`).FindAllStringSubmatch(string(b), -1) {
		v, _ := strconv.Atoi(m[2])
		if !slices.Contains(versions[m[1]], v) {
			versions[m[1]] = append(versions[m[1]], v)
		}
	}
	for _, f := range funcs {
		base, _, _ := strings.Cut(f.Symbol, "_v")
		slices.Sort(versions[base])
		want := base
		if i := slices.Index(versions[base], f.Version); i > 0 {
			want = fmt.Sprintf("%s_v%d", base, i+1)
		}
		if f.Symbol != want {
			t.Errorf("version %d of %v is %s, the table says %s", f.Version, versions[base], want, f.Symbol)
		}
	}
}

// TestConstants holds every number that this package declares against cuda.h.
func TestConstants(t *testing.T) {
	h := cheader.Read(t, "cuda.h")
	all := map[string]int64{}
	for name, c := range map[string]Code{
		"CUDA_SUCCESS": Success, "CUDA_ERROR_INVALID_VALUE": InvalidValue, "CUDA_ERROR_OUT_OF_MEMORY": OutOfMemory,
		"CUDA_ERROR_NOT_INITIALIZED": NotInitialized, "CUDA_ERROR_DEINITIALIZED": Deinitialized,
		"CUDA_ERROR_STUB_LIBRARY": StubLibrary, "CUDA_ERROR_DEVICE_UNAVAILABLE": DeviceUnavailable,
		"CUDA_ERROR_NO_DEVICE": NoDevice, "CUDA_ERROR_INVALID_DEVICE": InvalidDevice,
		"CUDA_ERROR_INVALID_IMAGE": InvalidImage, "CUDA_ERROR_INVALID_CONTEXT": InvalidContext,
		"CUDA_ERROR_NO_BINARY_FOR_GPU": NoBinaryForGPU, "CUDA_ERROR_ECC_UNCORRECTABLE": ECCUncorrectable,
		"CUDA_ERROR_INVALID_PTX": InvalidPTX, "CUDA_ERROR_NVLINK_UNCORRECTABLE": NVLinkUncorrectable,
		"CUDA_ERROR_UNSUPPORTED_PTX_VERSION": UnsupportedPTXVersion, "CUDA_ERROR_CONTAINED": Contained,
		"CUDA_ERROR_INVALID_HANDLE": InvalidHandle, "CUDA_ERROR_NOT_FOUND": NotFound, "CUDA_ERROR_NOT_READY": NotReady,
		"CUDA_ERROR_ILLEGAL_ADDRESS": IllegalAddress, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES": LaunchOutOfResources,
		"CUDA_ERROR_LAUNCH_TIMEOUT": LaunchTimeout, "CUDA_ERROR_CONTEXT_IS_DESTROYED": ContextIsDestroyed,
		"CUDA_ERROR_ASSERT": Assert, "CUDA_ERROR_HARDWARE_STACK_ERROR": HardwareStackError,
		"CUDA_ERROR_ILLEGAL_INSTRUCTION": IllegalInstruction, "CUDA_ERROR_MISALIGNED_ADDRESS": MisalignedAddress,
		"CUDA_ERROR_INVALID_ADDRESS_SPACE": InvalidAddressSpace, "CUDA_ERROR_INVALID_PC": InvalidPC,
		"CUDA_ERROR_LAUNCH_FAILED": LaunchFailed, "CUDA_ERROR_TENSOR_MEMORY_LEAK": TensorMemoryLeak,
		"CUDA_ERROR_NOT_SUPPORTED": NotSupported, "CUDA_ERROR_SYSTEM_NOT_READY": SystemNotReady,
		"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": SystemDriverMismatch, "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE": CompatNotSupported,
		"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED": StreamCaptureUnsupported, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED": StreamCaptureInvalidated,
		"CUDA_ERROR_STREAM_CAPTURE_UNJOINED": StreamCaptureUnjoined, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT": StreamCaptureImplicit,
		"CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD": StreamCaptureWrongThread, "CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE": GraphExecUpdateFailure,
		"CUDA_ERROR_UNKNOWN": Unknown,
	} {
		all[name] = int64(c)
	}
	for name, a := range map[string]Attribute{
		"MAX_THREADS_PER_BLOCK": MaxThreadsPerBlock, "WARP_SIZE": WarpSize, "CLOCK_RATE": ClockRate,
		"MULTIPROCESSOR_COUNT": MultiprocessorCount, "KERNEL_EXEC_TIMEOUT": KernelExecTimeout, "INTEGRATED": Integrated,
		"CAN_MAP_HOST_MEMORY": CanMapHostMemory, "COMPUTE_MODE": ComputeMode, "ECC_ENABLED": ECCEnabled,
		"MEMORY_CLOCK_RATE": MemoryClockRate, "GLOBAL_MEMORY_BUS_WIDTH": GlobalMemoryBusWidth, "L2_CACHE_SIZE": L2CacheSize,
		"MAX_THREADS_PER_MULTIPROCESSOR": MaxThreadsPerMultiprocessor, "ASYNC_ENGINE_COUNT": AsyncEngineCount,
		"UNIFIED_ADDRESSING": UnifiedAddressing, "COMPUTE_CAPABILITY_MAJOR": ComputeCapabilityMajor,
		"COMPUTE_CAPABILITY_MINOR": ComputeCapabilityMinor, "MAX_SHARED_MEMORY_PER_MULTIPROCESSOR": MaxSharedPerMultiprocessor,
		"MAX_REGISTERS_PER_MULTIPROCESSOR": MaxRegsPerMultiprocessor, "COOPERATIVE_LAUNCH": CooperativeLaunch,
		"MAX_SHARED_MEMORY_PER_BLOCK_OPTIN": MaxSharedPerBlockOptin, "MAX_BLOCKS_PER_MULTIPROCESSOR": MaxBlocksPerMultiprocessor,
		"RESERVED_SHARED_MEMORY_PER_BLOCK": ReservedSharedPerBlock, "HOST_NUMA_ID": HostNUMAID,
	} {
		all["CU_DEVICE_ATTRIBUTE_"+name] = int64(a)
	}
	for name, a := range map[string]FunctionAttribute{
		"MAX_THREADS_PER_BLOCK": FuncMaxThreadsPerBlock, "SHARED_SIZE_BYTES": FuncSharedSizeBytes,
		"CONST_SIZE_BYTES": FuncConstSizeBytes, "LOCAL_SIZE_BYTES": FuncLocalSizeBytes, "NUM_REGS": FuncNumRegs,
		"PTX_VERSION": FuncPTXVersion, "BINARY_VERSION": FuncBinaryVersion,
		"MAX_DYNAMIC_SHARED_SIZE_BYTES": FuncMaxDynamicSharedBytes, "PREFERRED_SHARED_MEMORY_CARVEOUT": FuncPreferredSharedPercent,
	} {
		all["CU_FUNC_ATTRIBUTE_"+name] = int64(a)
	}
	h.CheckConsts(t, all)
	h.CheckConsts(t, map[string]int64{
		"CU_LIMIT_STACK_SIZE": int64(LimitStackSize), "CU_LIMIT_PERSISTING_L2_CACHE_SIZE": int64(LimitPersistingL2Cache),
		"CU_CTX_SCHED_AUTO": ScheduleAuto, "CU_CTX_SCHED_SPIN": ScheduleSpin,
		"CU_CTX_SCHED_YIELD": ScheduleYield, "CU_CTX_SCHED_BLOCKING_SYNC": ScheduleBlocking,
		"CU_MEMHOSTALLOC_PORTABLE": HostPortable, "CU_MEMHOSTALLOC_DEVICEMAP": HostDeviceMap,
		"CU_MEMHOSTALLOC_WRITECOMBINED": HostWriteCombined,
		"CU_MEMHOSTREGISTER_PORTABLE":   HostPortable, "CU_MEMHOSTREGISTER_DEVICEMAP": HostDeviceMap,
		"CU_MEMCPY_SRC_ACCESS_ORDER_STREAM":          int64(AccessStream),
		"CU_MEMCPY_SRC_ACCESS_ORDER_DURING_API_CALL": int64(AccessDuringCall),
		"CU_MEMCPY_SRC_ACCESS_ORDER_ANY":             int64(AccessAny),
		"CU_MEMCPY_FLAG_PREFER_OVERLAP_WITH_COMPUTE": preferOverlap,
		"CU_STREAM_NON_BLOCKING":                     streamNonBlocking, "CU_EVENT_DISABLE_TIMING": eventDisableTiming,
		"CU_EVENT_BLOCKING_SYNC":  eventBlockingSync,
		"CU_JIT_ERROR_LOG_BUFFER": jitErrorLogBuffer, "CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES": jitErrorLogBytes,
		"CU_LAUNCH_PARAM_BUFFER_POINTER_AS_INT": paramPointer, "CU_LAUNCH_PARAM_BUFFER_SIZE_AS_INT": paramSize,
		"CU_LAUNCH_PARAM_END_AS_INT":                            paramEnd,
		"CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION": programmaticStreamSerialization,
		"CU_STREAM_CAPTURE_MODE_GLOBAL":                         int64(CaptureGlobal),
		"CU_STREAM_CAPTURE_MODE_THREAD_LOCAL":                   int64(CaptureThreadLocal),
		"CU_STREAM_CAPTURE_MODE_RELAXED":                        int64(CaptureRelaxed),
		"CU_STREAM_CAPTURE_STATUS_NONE":                         int64(CaptureNone),
		"CU_STREAM_CAPTURE_STATUS_ACTIVE":                       int64(CaptureActive),
		"CU_STREAM_CAPTURE_STATUS_INVALIDATED":                  int64(CaptureInvalidated),
		"CU_GRAPH_NODE_TYPE_KERNEL":                             int64(NodeKernel), "CU_GRAPH_NODE_TYPE_MEMCPY": int64(NodeMemcpy),
		"CU_GRAPH_NODE_TYPE_MEMSET": int64(NodeMemset), "CU_GRAPH_NODE_TYPE_EMPTY": int64(NodeEmpty),
		"CU_GRAPH_NODE_TYPE_WAIT_EVENT":               int64(NodeEventWait),
		"CU_GRAPH_NODE_TYPE_EVENT_RECORD":             int64(NodeEventRecord),
		"CU_GRAPH_EXEC_UPDATE_SUCCESS":                int64(UpdateSuccess),
		"CU_GRAPH_EXEC_UPDATE_ERROR":                  int64(UpdateError),
		"CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED": int64(UpdateTopologyChanged),
		"CU_GRAPH_DEBUG_DOT_FLAGS_VERBOSE":            dotVerbose,
		"CU_GET_PROC_ADDRESS_DEFAULT":                 getProcAddressDefault,
	})
}

// TestLayouts holds the structs that this package hands over against cuda.h.
func TestLayouts(t *testing.T) {
	h := cheader.Read(t, "cuda.h")
	h.CheckLayout(t, launchConfig{}, "CUlaunchConfig", map[string]string{"Grid": "gridDimX", "Block": "blockDimX",
		"SharedBytes": "sharedMemBytes", "Stream": "hStream", "Attributes": "attrs", "NumAttributes": "numAttrs"})
	h.CheckLayout(t, launchAttribute{}, "CUlaunchAttribute", map[string]string{"ID": "id", "Value": "value"})
	h.CheckLayout(t, copyAttributes{}, "CUmemcpyAttributes", map[string]string{"SrcAccessOrder": "srcAccessOrder",
		"SrcLocHint": "srcLocHint", "DstLocHint": "dstLocHint", "Flags": "flags"})
	h.CheckLayout(t, updateInfo{}, "CUgraphExecUpdateResultInfo", map[string]string{"Result": "result",
		"ErrorNode": "errorNode", "ErrorFromNode": "errorFromNode"})
	if size, _, _ := h.Struct("CUuuid"); size != 16 {
		t.Errorf("CUuuid has %d bytes", size)
	}
	// The words of a launch do not overlap.
	if end := wordConfig*8 + unsafe.Sizeof(launchConfig{}); wordSize >= wordConfig || end > wordAttribute*8 {
		t.Errorf("the launch configuration ends at %d", end)
	}
}
