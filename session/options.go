package session

import (
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-run/holdfast/tokenlog"
)

// Options of a Manager. The zero value is what a worker uses.
type Options struct {
	// Log is the log's; Notify is the Manager's own. A session's tree, as records, must fit
	// 3/4 of Log.BufferBytes; turns are refused earlier.
	Log tokenlog.Options
	// MaxSessions bounds the sessions of a store, MaxOfPrincipal those of one
	// principal. The default values are 262,144 and as many.
	MaxSessions, MaxOfPrincipal int
	// MaxOpen bounds the sessions whose turns are kept in memory, OpenBytes the memory
	// for them; those in use, and those at LevelMemory, are beyond it. The default
	// values are 1024 and 256 MiB.
	MaxOpen   int
	OpenBytes int64
	// MaxTurns bounds the turns of a session, all branches counted. The default value is 8192.
	MaxTurns int
	// MaxTokens bounds a session's history and a turn's prompt. The default value is 1,048,576.
	MaxTokens int
	// MaxForks bounds what one Fork makes. The default value is 64.
	MaxForks int
	// MaxBody bounds a turn's Body and its Result, in bytes each. The default value is 1 MiB.
	MaxBody int
	// Now is the clock. The default value is time.Now.
	Now func() time.Time
}

const (
	maxName    = 256            // bytes of a principal, of a class, of a key
	maxTurn    = 1 << 31        // what turns are numbered below
	maxWord    = 64             // bytes of Commit.Finish
	keyLife    = 24 * time.Hour // how long a creation's idempotency key is known
	keyTurn    = 64             // turns whose idempotency keys are known
	maxDamaged = 1000           // sessions that Status lists as damaged
	maxGone    = 4096           // sessions of which it is known that they are gone
)

func (o Options) withDefaults() (Options, error) {
	set(&o.MaxSessions, 1<<18)
	set(&o.MaxOfPrincipal, o.MaxSessions)
	set(&o.MaxOpen, 1024)
	set(&o.OpenBytes, 256<<20)
	set(&o.MaxTurns, 8192)
	set(&o.MaxTokens, 1<<20)
	set(&o.MaxForks, 64)
	set(&o.MaxBody, 1<<20)
	if o.Now == nil {
		o.Now = time.Now
	}
	var errs []error
	for name, n := range map[string]int64{
		"MaxSessions": int64(o.MaxSessions), "MaxOfPrincipal": int64(o.MaxOfPrincipal), "MaxOpen": int64(o.MaxOpen), "OpenBytes": o.OpenBytes,
		"MaxTurns": int64(o.MaxTurns), "MaxTokens": int64(o.MaxTokens), "MaxForks": int64(o.MaxForks), "MaxBody": int64(o.MaxBody),
	} {
		if n < 1 {
			errs = append(errs, fmt.Errorf("session: %s is %d; take 1 or more", name, n))
		}
	}
	return o, errors.Join(errs...)
}

func set[T int | int64](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}
