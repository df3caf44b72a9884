package device

import (
	"context"
	"errors"
)

// ErrLost is wrapped by the errors of a program that has lost what it had on the
// device: weights, KV, the steps under way. Every call says so from then on, Wait of
// earlier tickets too. Close works, and Rebuild where the program has it.
var ErrLost = errors.New("device: everything on it is lost")

// Rebuilder is a Program that can be made anew in its place.
type Rebuilder interface {
	Program
	// Rebuild gives up what is left and does again what Compile did: the same plan,
	// the weights from the same file (of which what File.Load makes must have been
	// made again), blocks and tables empty. Pools stay those that Pool has returned;
	// earlier tickets and outputs are void. It may run on any goroutine while nobody
	// else uses the program. progress, if set, is as Options.Progress.
	//
	// If it fails the program is lost as before and holds no memory of the device;
	// Rebuild may be called again. An error that wraps ErrLost says that the device
	// was lost once more meanwhile.
	Rebuild(ctx context.Context, progress func(done, total int64)) error
}
