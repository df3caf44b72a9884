package cublaslt

import "github.com/holdfast-run/holdfast/bindings/dynload"

// The order of funcs.
const (
	fnGetVersion = iota
	fnGetStatusName
	fnCreate
	fnDestroy
	fnMatmulDescCreate
	fnMatmulDescDestroy
	fnMatmulDescSetAttribute
	fnMatrixLayoutCreate
	fnMatrixLayoutDestroy
	fnMatmulPreferenceCreate
	fnMatmulPreferenceDestroy
	fnMatmulPreferenceSetAttribute
	fnMatmulAlgoGetHeuristic
	fnMatmul
)

var funcs = []dynload.Func{
	fnGetVersion:                   {Symbol: "cublasLtGetVersion"},
	fnGetStatusName:                {Symbol: "cublasLtGetStatusName", Args: "i"},
	fnCreate:                       {Symbol: "cublasLtCreate", Args: "p"},
	fnDestroy:                      {Symbol: "cublasLtDestroy", Args: "p"},
	fnMatmulDescCreate:             {Symbol: "cublasLtMatmulDescCreate", Args: "pii"},
	fnMatmulDescDestroy:            {Symbol: "cublasLtMatmulDescDestroy", Args: "p"},
	fnMatmulDescSetAttribute:       {Symbol: "cublasLtMatmulDescSetAttribute", Args: "pipq"},
	fnMatrixLayoutCreate:           {Symbol: "cublasLtMatrixLayoutCreate", Args: "piqqq"},
	fnMatrixLayoutDestroy:          {Symbol: "cublasLtMatrixLayoutDestroy", Args: "p"},
	fnMatmulPreferenceCreate:       {Symbol: "cublasLtMatmulPreferenceCreate", Args: "p"},
	fnMatmulPreferenceDestroy:      {Symbol: "cublasLtMatmulPreferenceDestroy", Args: "p"},
	fnMatmulPreferenceSetAttribute: {Symbol: "cublasLtMatmulPreferenceSetAttribute", Args: "pipq"},
	fnMatmulAlgoGetHeuristic:       {Symbol: "cublasLtMatmulAlgoGetHeuristic", Args: "pppppppipp"},
	fnMatmul:                       {Symbol: "cublasLtMatmul", Args: "ppppppppppppppqp"},
}

// Functions returns the table, for an emulator to fill.
func Functions() []dynload.Func { return append([]dynload.Func(nil), funcs...) }

var library = dynload.Library{
	Name:    "libcublasLt",
	Files:   []string{"libcublasLt.so.13", "libcublasLt.so.12"},
	Folders: dynload.ToolkitFolders(),
	Remedy:  "install the CUDA toolkit 12 or 13, or its package libcublas, or name the folder of libcublasLt.so; without it the worker's own kernels are used",
	Funcs:   funcs,
}
