package cuda

import "github.com/holdfast-run/holdfast/bindings/dynload"

// The order of funcs.
const (
	fnInit = iota
	fnDriverGetVersion
	fnGetErrorName

	fnDeviceGetCount
	fnDeviceGet
	fnDeviceGetName
	fnDeviceGetUuid
	fnDeviceGetPCIBusID
	fnDeviceTotalMem
	fnDeviceGetAttribute
	fnDeviceCanAccessPeer

	fnDevicePrimaryCtxRetain
	fnDevicePrimaryCtxRelease
	fnDevicePrimaryCtxReset
	fnDevicePrimaryCtxSetFlags
	fnDevicePrimaryCtxGetState
	fnCtxSetCurrent
	fnCtxGetCurrent
	fnCtxSynchronize
	fnCtxGetLimit
	fnCtxSetLimit
	fnCtxGetStreamPriorityRange

	fnMemGetInfo
	fnMemAlloc
	fnMemFree
	fnMemHostAlloc
	fnMemFreeHost
	fnMemHostRegister
	fnMemHostUnregister
	fnMemHostGetDevicePointer
	fnMemGetAddressRange
	fnMemcpyHtoD
	fnMemcpyDtoH
	fnMemcpyHtoDAsync
	fnMemcpyDtoHAsync
	fnMemcpyDtoDAsync
	fnMemcpyBatchAsync
	fnMemsetD8Async
	fnMemsetD32Async

	fnStreamCreateWithPriority
	fnStreamDestroy
	fnStreamSynchronize
	fnStreamQuery
	fnStreamWaitEvent
	fnEventCreate
	fnEventDestroy
	fnEventRecord
	fnEventQuery
	fnEventSynchronize
	fnEventElapsedTime

	fnModuleLoadData
	fnModuleLoadDataEx
	fnModuleUnload
	fnModuleGetFunction
	fnModuleGetGlobal
	fnFuncLoad
	fnFuncGetAttribute
	fnFuncSetAttribute
	fnFuncGetParamInfo
	fnOccupancyMaxActiveBlocks
	fnOccupancyMaxPotentialBlockSize
	fnOccupancyAvailableDynamicSMem

	fnLaunchKernel
	fnLaunchKernelEx

	fnStreamBeginCapture
	fnStreamEndCapture
	fnStreamIsCapturing
	fnThreadExchangeStreamCaptureMode
	fnGraphInstantiate
	fnGraphUpload
	fnGraphLaunch
	fnGraphExecUpdate
	fnGraphExecDestroy
	fnGraphDestroy
	fnGraphGetNodes
	fnGraphNodeGetType
	fnGraphDebugDotPrint
)

// funcs is the table. Version is the CUDA version that brought this form of the
// function; cuGetProcAddress is asked for exactly that, and the symbol carries the
// suffix that goes with it.
var funcs = []dynload.Func{
	fnInit:             {Symbol: "cuInit", Args: "u", Version: 2000},
	fnDriverGetVersion: {Symbol: "cuDriverGetVersion", Args: "p", Version: 2020},
	fnGetErrorName:     {Symbol: "cuGetErrorName", Args: "ip", Version: 6000},

	fnDeviceGetCount:      {Symbol: "cuDeviceGetCount", Args: "p", Version: 2000},
	fnDeviceGet:           {Symbol: "cuDeviceGet", Args: "pi", Version: 2000},
	fnDeviceGetName:       {Symbol: "cuDeviceGetName", Args: "pii", Version: 2000},
	fnDeviceGetUuid:       {Symbol: "cuDeviceGetUuid_v2", Args: "pi", Version: 11040},
	fnDeviceGetPCIBusID:   {Symbol: "cuDeviceGetPCIBusId", Args: "pii", Version: 4010},
	fnDeviceTotalMem:      {Symbol: "cuDeviceTotalMem_v2", Args: "pi", Version: 3020},
	fnDeviceGetAttribute:  {Symbol: "cuDeviceGetAttribute", Args: "pii", Version: 2000},
	fnDeviceCanAccessPeer: {Symbol: "cuDeviceCanAccessPeer", Args: "pii", Version: 4000},

	fnDevicePrimaryCtxRetain:    {Symbol: "cuDevicePrimaryCtxRetain", Args: "pi", Version: 7000},
	fnDevicePrimaryCtxRelease:   {Symbol: "cuDevicePrimaryCtxRelease_v2", Args: "i", Version: 11000},
	fnDevicePrimaryCtxReset:     {Symbol: "cuDevicePrimaryCtxReset_v2", Args: "i", Version: 11000},
	fnDevicePrimaryCtxSetFlags:  {Symbol: "cuDevicePrimaryCtxSetFlags_v2", Args: "iu", Version: 11000},
	fnDevicePrimaryCtxGetState:  {Symbol: "cuDevicePrimaryCtxGetState", Args: "ipp", Version: 7000},
	fnCtxSetCurrent:             {Symbol: "cuCtxSetCurrent", Args: "p", Version: 4000},
	fnCtxGetCurrent:             {Symbol: "cuCtxGetCurrent", Args: "p", Version: 4000},
	fnCtxSynchronize:            {Symbol: "cuCtxSynchronize", Args: "", Version: 2000},
	fnCtxGetLimit:               {Symbol: "cuCtxGetLimit", Args: "pi", Version: 3010},
	fnCtxSetLimit:               {Symbol: "cuCtxSetLimit", Args: "iq", Version: 3010},
	fnCtxGetStreamPriorityRange: {Symbol: "cuCtxGetStreamPriorityRange", Args: "pp", Version: 5050},

	fnMemGetInfo:              {Symbol: "cuMemGetInfo_v2", Args: "pp", Version: 3020},
	fnMemAlloc:                {Symbol: "cuMemAlloc_v2", Args: "pq", Version: 3020},
	fnMemFree:                 {Symbol: "cuMemFree_v2", Args: "q", Version: 3020},
	fnMemHostAlloc:            {Symbol: "cuMemHostAlloc", Args: "pqu", Version: 2020},
	fnMemFreeHost:             {Symbol: "cuMemFreeHost", Args: "p", Version: 2000},
	fnMemHostRegister:         {Symbol: "cuMemHostRegister_v2", Args: "pqu", Version: 6050},
	fnMemHostUnregister:       {Symbol: "cuMemHostUnregister", Args: "p", Version: 4000},
	fnMemHostGetDevicePointer: {Symbol: "cuMemHostGetDevicePointer_v2", Args: "ppu", Version: 3020},
	fnMemGetAddressRange:      {Symbol: "cuMemGetAddressRange_v2", Args: "ppq", Version: 3020},
	fnMemcpyHtoD:              {Symbol: "cuMemcpyHtoD_v2", Args: "qpq", Version: 3020},
	fnMemcpyDtoH:              {Symbol: "cuMemcpyDtoH_v2", Args: "pqq", Version: 3020},
	fnMemcpyHtoDAsync:         {Symbol: "cuMemcpyHtoDAsync_v2", Args: "qpqp", Version: 3020},
	fnMemcpyDtoHAsync:         {Symbol: "cuMemcpyDtoHAsync_v2", Args: "pqqp", Version: 3020},
	fnMemcpyDtoDAsync:         {Symbol: "cuMemcpyDtoDAsync_v2", Args: "qqqp", Version: 3020},
	fnMemcpyBatchAsync:        {Symbol: "cuMemcpyBatchAsync_v2", Args: "pppqppqp", Version: 13000, Optional: true},
	fnMemsetD8Async:           {Symbol: "cuMemsetD8Async", Args: "quqp", Version: 3020},
	fnMemsetD32Async:          {Symbol: "cuMemsetD32Async", Args: "quqp", Version: 3020},

	fnStreamCreateWithPriority: {Symbol: "cuStreamCreateWithPriority", Args: "pui", Version: 5050},
	fnStreamDestroy:            {Symbol: "cuStreamDestroy_v2", Args: "p", Version: 4000},
	fnStreamSynchronize:        {Symbol: "cuStreamSynchronize", Args: "p", Version: 2000},
	fnStreamQuery:              {Symbol: "cuStreamQuery", Args: "p", Version: 2000},
	fnStreamWaitEvent:          {Symbol: "cuStreamWaitEvent", Args: "ppu", Version: 3020},
	fnEventCreate:              {Symbol: "cuEventCreate", Args: "pu", Version: 2000},
	fnEventDestroy:             {Symbol: "cuEventDestroy_v2", Args: "p", Version: 4000},
	fnEventRecord:              {Symbol: "cuEventRecord", Args: "pp", Version: 2000},
	fnEventQuery:               {Symbol: "cuEventQuery", Args: "p", Version: 2000},
	fnEventSynchronize:         {Symbol: "cuEventSynchronize", Args: "p", Version: 2000},
	fnEventElapsedTime:         {Symbol: "cuEventElapsedTime", Args: "ppp", Version: 2000},

	fnModuleLoadData:                 {Symbol: "cuModuleLoadData", Args: "pp", Version: 2000},
	fnModuleLoadDataEx:               {Symbol: "cuModuleLoadDataEx", Args: "ppupp", Version: 2010},
	fnModuleUnload:                   {Symbol: "cuModuleUnload", Args: "p", Version: 2000},
	fnModuleGetFunction:              {Symbol: "cuModuleGetFunction", Args: "ppp", Version: 2000},
	fnModuleGetGlobal:                {Symbol: "cuModuleGetGlobal_v2", Args: "pppp", Version: 3020},
	fnFuncLoad:                       {Symbol: "cuFuncLoad", Args: "p", Version: 12040, Optional: true},
	fnFuncGetAttribute:               {Symbol: "cuFuncGetAttribute", Args: "pip", Version: 2020},
	fnFuncSetAttribute:               {Symbol: "cuFuncSetAttribute", Args: "pii", Version: 9000},
	fnFuncGetParamInfo:               {Symbol: "cuFuncGetParamInfo", Args: "pqpp", Version: 12040, Optional: true},
	fnOccupancyMaxActiveBlocks:       {Symbol: "cuOccupancyMaxActiveBlocksPerMultiprocessor", Args: "ppiq", Version: 6050},
	fnOccupancyMaxPotentialBlockSize: {Symbol: "cuOccupancyMaxPotentialBlockSize", Args: "ppppqi", Version: 6050},
	fnOccupancyAvailableDynamicSMem:  {Symbol: "cuOccupancyAvailableDynamicSMemPerBlock", Args: "ppii", Version: 10020},

	fnLaunchKernel:   {Symbol: "cuLaunchKernel", Args: "puuuuuuuppp", Version: 4000},
	fnLaunchKernelEx: {Symbol: "cuLaunchKernelEx", Args: "pppp", Version: 11060},

	fnStreamBeginCapture:              {Symbol: "cuStreamBeginCapture_v2", Args: "pi", Version: 10010},
	fnStreamEndCapture:                {Symbol: "cuStreamEndCapture", Args: "pp", Version: 10000},
	fnStreamIsCapturing:               {Symbol: "cuStreamIsCapturing", Args: "pp", Version: 10000},
	fnThreadExchangeStreamCaptureMode: {Symbol: "cuThreadExchangeStreamCaptureMode", Args: "p", Version: 10010},
	fnGraphInstantiate:                {Symbol: "cuGraphInstantiateWithFlags", Args: "ppq", Version: 11040},
	fnGraphUpload:                     {Symbol: "cuGraphUpload", Args: "pp", Version: 11010},
	fnGraphLaunch:                     {Symbol: "cuGraphLaunch", Args: "pp", Version: 10000},
	fnGraphExecUpdate:                 {Symbol: "cuGraphExecUpdate_v2", Args: "ppp", Version: 12000},
	fnGraphExecDestroy:                {Symbol: "cuGraphExecDestroy", Args: "p", Version: 10000},
	fnGraphDestroy:                    {Symbol: "cuGraphDestroy", Args: "p", Version: 10000},
	fnGraphGetNodes:                   {Symbol: "cuGraphGetNodes", Args: "ppp", Version: 10000},
	fnGraphNodeGetType:                {Symbol: "cuGraphNodeGetType", Args: "pp", Version: 10000},
	fnGraphDebugDotPrint:              {Symbol: "cuGraphDebugDotPrint", Args: "ppu", Version: 11030},
}

// Functions returns the table, for an emulator to fill.
func Functions() []dynload.Func { return append([]dynload.Func(nil), funcs...) }

const (
	libraryName = "libcuda"
	remedy      = "install NVIDIA's driver 580 or later (in a container: run it with the NVIDIA runtime), or name the folder of libcuda.so.1"
)

var library = dynload.Library{
	Name:     libraryName,
	Files:    []string{"libcuda.so.1"},
	Folders:  dynload.DriverFolders(),
	Remedy:   remedy,
	Funcs:    funcs,
	Resolver: resolver,
	Probe:    probe,
}
