// Package gpucheck is the check of a GPU: goldens and properties of device/cuda, and
// the figures that docs/CUDA.md asks for, as one test binary that needs no Go and no
// network where it runs. `make gpu-check` builds and runs it.
//
// `go test` runs the same tests on the emulator, which is how they are known to work.
// With -gpu they run on the machine's GPU, and skip, with the reason, where there is
// none. -figures FILE measures, after the tests, and writes JSON beside a table; on the
// emulator that is a rehearsal of a few tiny shapes, whose numbers mean nothing.
package gpucheck
