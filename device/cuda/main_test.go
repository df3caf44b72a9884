package cuda_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small are options of a program for which little has to be emulated.
func small(rows, tokens, context, blocks int) device.Options {
	return device.Options{KV: graph.F16, MaxRows: rows, MaxTokens: tokens, ContextLength: context, Blocks: [device.PoolKinds]int{blocks}}
}
