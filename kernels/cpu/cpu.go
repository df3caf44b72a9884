// Package cpu holds the compute kernels of the numerics class cpu-1
// (docs/NUMERICS.md): quantisation of activations, linear layers over packed
// weights, norms, activations, RoPE and attention over blocks of 32 slots.
//
// Every kernel exists in generic Go and in generated assembly: on amd64 for AVX2
// and AVX-512, both with and without dot products of bytes, on arm64 for NEON with
// them. All tiers give the same bits on every input, except that
// the payload of a NaN is not defined. The generic code is written from the
// class's rules and is the reference that tests compare the others with.
//
//	k, err := cpu.Select()
//	n, err := cpu.PackedBytes(graph.Q4_1, rows, kdim)
//	cpu.Pack(data, graph.Q4_1, rows, kdim, raw, 0, groups) // once, at load
//	k.Quantize(tile, x, kdim, kdim, m)                      // up to MaxTile tokens
//	k.Linear(y, stride, tile, m, &matrix, 0, matrix.Groups())
//
// Caveats: arguments are checked for length, and a kernel panics with "BUG:" on
// a broken contract. No kernel allocates or keeps a pointer. Assembly cannot be
// preempted, so a call works in pieces of at most about 200 µs with a safepoint
// between them. Buffers may start at any address, but weights, tiles and KV
// blocks are fastest on 64 bytes.
package cpu

import (
	"fmt"
	"os"
)

// Tier names the instruction set that a set of kernels is written for.
type Tier uint8

const (
	// Generic is portable Go.
	Generic Tier = iota
	// AVX2 needs AVX2, FMA and F16C.
	AVX2
	// AVX2VNNI needs AVX-VNNI beside that: dot products of bytes.
	AVX2VNNI
	// AVX512BW needs AVX-512 F, BW, VL and DQ, beside all that AVX2 needs.
	AVX512BW
	// AVX512 needs AVX-512 VNNI, beside all that AVX512BW needs.
	AVX512
	// SDOT is NEON with dot products of bytes, of arm64.
	SDOT
	// I8MM has products of matrices of bytes beside that.
	I8MM
	numTiers
)

var tierNames = [numTiers]string{Generic: "generic", AVX2: "avx2", AVX2VNNI: "avx2vnni", AVX512BW: "avx512bw", AVX512: "avx512", SDOT: "sdot", I8MM: "i8mm"}

// String returns the name that TierVariable takes.
func (t Tier) String() string {
	if t >= numTiers {
		return fmt.Sprintf("Tier(%d)", uint8(t))
	}
	return tierNames[t]
}

// TierVariable is the environment variable that forces a tier in Select.
const TierVariable = "HOLDFAST_CPU_TIER"

// Kernels is one tier's set of kernels. It has no state beside the tier, and
// its methods may be called by any number of goroutines.
type Kernels struct {
	// Tier is the instruction set in use.
	Tier Tier
}

// Tiers returns the tiers that this machine can run, slowest first.
func Tiers() []Tier {
	var ts []Tier
	for t := Generic; t < numTiers; t++ {
		if available(t) {
			ts = append(ts, t)
		}
	}
	return ts
}

// For returns the kernels of tier t, or an error where the machine lacks it.
func For(t Tier) (*Kernels, error) {
	if t >= numTiers || !available(t) {
		return nil, fmt.Errorf("cpu: tier %v is not available on this machine (it has %v)", t, Tiers())
	}
	return &Kernels{Tier: t}, nil
}

// Select returns the kernels of the best tier, or of the tier that the
// environment variable HOLDFAST_CPU_TIER names: generic, avx2, avx2vnni, avx512bw
// and avx512, or sdot and i8mm. An unknown name or a tier that this machine lacks
// is an error.
func Select() (*Kernels, error) {
	name, ok := os.LookupEnv(TierVariable)
	if !ok || name == "" {
		ts := Tiers()
		return For(ts[len(ts)-1])
	}
	for t, s := range tierNames {
		if s == name {
			k, err := For(Tier(t))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", TierVariable, err)
			}
			return k, nil
		}
	}
	return nil, fmt.Errorf("cpu: %s=%q is not one of %v", TierVariable, name, tierNames)
}

// need panics unless a buffer of have elements holds want. what names the
// broken argument.
func need(what string, have, want int) {
	if have < want {
		panic(fmt.Sprintf("BUG: cpu: %s has %d elements, needs %d", what, have, want))
	}
}
