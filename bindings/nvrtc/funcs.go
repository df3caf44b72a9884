package nvrtc

import "github.com/holdfast-run/holdfast/bindings/dynload"

// The order of funcs.
const (
	fnVersion = iota
	fnGetNumSupportedArchs
	fnGetSupportedArchs
	fnGetErrorString
	fnCreateProgram
	fnDestroyProgram
	fnCompileProgram
	fnGetPTXSize
	fnGetPTX
	fnGetCUBINSize
	fnGetCUBIN
	fnGetProgramLogSize
	fnGetProgramLog
)

var funcs = []dynload.Func{
	fnVersion:              {Symbol: "nvrtcVersion", Args: "pp"},
	fnGetNumSupportedArchs: {Symbol: "nvrtcGetNumSupportedArchs", Args: "p"},
	fnGetSupportedArchs:    {Symbol: "nvrtcGetSupportedArchs", Args: "p"},
	fnGetErrorString:       {Symbol: "nvrtcGetErrorString", Args: "i"},
	fnCreateProgram:        {Symbol: "nvrtcCreateProgram", Args: "pppipp"},
	fnDestroyProgram:       {Symbol: "nvrtcDestroyProgram", Args: "p"},
	fnCompileProgram:       {Symbol: "nvrtcCompileProgram", Args: "pip"},
	fnGetPTXSize:           {Symbol: "nvrtcGetPTXSize", Args: "pp"},
	fnGetPTX:               {Symbol: "nvrtcGetPTX", Args: "pp"},
	fnGetCUBINSize:         {Symbol: "nvrtcGetCUBINSize", Args: "pp"},
	fnGetCUBIN:             {Symbol: "nvrtcGetCUBIN", Args: "pp"},
	fnGetProgramLogSize:    {Symbol: "nvrtcGetProgramLogSize", Args: "pp"},
	fnGetProgramLog:        {Symbol: "nvrtcGetProgramLog", Args: "pp"},
}

var library = dynload.Library{
	Name:    "libnvrtc",
	Files:   []string{"libnvrtc.so.13", "libnvrtc.so.12"},
	Folders: dynload.ToolkitFolders(),
	Remedy:  "install the CUDA toolkit 12 or 13, or its package cuda-nvrtc, or name the folder of libnvrtc.so",
	Funcs:   funcs,
	Probe:   probe,
}
