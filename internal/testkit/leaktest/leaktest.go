// Package leaktest finds goroutines that a package's tests leave behind.
package leaktest

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long goroutines may take to end after the last test: goleak alone
// gives them half a second, which a busy machine may let pass.
const patience = time.Minute

// Main is a package's TestMain: it runs the tests, and ends the process with an error
// if one fails or a goroutine stays that no option names.
func Main(m *testing.M, options ...goleak.Option) {
	code := m.Run()
	err := goleak.Find(options...)
	for end := time.Now().Add(patience); err != nil && time.Now().Before(end); {
		err = goleak.Find(options...)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "goroutines are left behind:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}
