package cuda_test

import (
	"testing"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/testkit/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// small are options of a program for which little has to be emulated.
func small(rows, tokens, context, blocks int) device.Options {
	return device.Options{KV: graph.F16, MaxRows: rows, MaxTokens: tokens, ContextLength: context, Blocks: [device.PoolKinds]int{blocks}}
}
