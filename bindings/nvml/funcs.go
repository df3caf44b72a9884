package nvml

import "github.com/holdfast-run/holdfast/bindings/dynload"

// The order of funcs.
const (
	fnInit = iota
	fnShutdown
	fnErrorString
	fnSystemGetDriverVersion
	fnSystemGetCudaDriverVersion
	fnDeviceGetCount
	fnDeviceGetHandleByIndex
	fnDeviceGetHandleByPCIBusID
	fnDeviceGetName
	fnDeviceGetUUID
	fnDeviceGetMemoryInfo
	fnDeviceGetUtilizationRates
	fnDeviceGetPowerUsage
	fnDeviceGetEnforcedPowerLimit
	fnDeviceGetEccMode
	fnDeviceGetTotalEccErrors
)

var funcs = []dynload.Func{
	fnInit:                        {Symbol: "nvmlInit_v2"},
	fnShutdown:                    {Symbol: "nvmlShutdown"},
	fnErrorString:                 {Symbol: "nvmlErrorString", Args: "i"},
	fnSystemGetDriverVersion:      {Symbol: "nvmlSystemGetDriverVersion", Args: "pu"},
	fnSystemGetCudaDriverVersion:  {Symbol: "nvmlSystemGetCudaDriverVersion_v2", Args: "p"},
	fnDeviceGetCount:              {Symbol: "nvmlDeviceGetCount_v2", Args: "p"},
	fnDeviceGetHandleByIndex:      {Symbol: "nvmlDeviceGetHandleByIndex_v2", Args: "up"},
	fnDeviceGetHandleByPCIBusID:   {Symbol: "nvmlDeviceGetHandleByPciBusId_v2", Args: "pp"},
	fnDeviceGetName:               {Symbol: "nvmlDeviceGetName", Args: "ppu"},
	fnDeviceGetUUID:               {Symbol: "nvmlDeviceGetUUID", Args: "ppu"},
	fnDeviceGetMemoryInfo:         {Symbol: "nvmlDeviceGetMemoryInfo", Args: "pp"},
	fnDeviceGetUtilizationRates:   {Symbol: "nvmlDeviceGetUtilizationRates", Args: "pp"},
	fnDeviceGetPowerUsage:         {Symbol: "nvmlDeviceGetPowerUsage", Args: "pp"},
	fnDeviceGetEnforcedPowerLimit: {Symbol: "nvmlDeviceGetEnforcedPowerLimit", Args: "pp"},
	fnDeviceGetEccMode:            {Symbol: "nvmlDeviceGetEccMode", Args: "ppp"},
	fnDeviceGetTotalEccErrors:     {Symbol: "nvmlDeviceGetTotalEccErrors", Args: "piip"},
}

// Functions returns the table, for an emulator to fill.
func Functions() []dynload.Func { return append([]dynload.Func(nil), funcs...) }

var library = dynload.Library{
	Name:    "libnvidia-ml",
	Files:   []string{"libnvidia-ml.so.1"},
	Folders: dynload.DriverFolders(),
	Remedy:  "install NVIDIA's driver (in a container: run it with the NVIDIA runtime), or name the folder of libnvidia-ml.so.1",
	Funcs:   funcs,
}
