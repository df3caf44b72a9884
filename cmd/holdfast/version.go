package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker in releases.
var version = "0.1.0-dev"

type versionCmd struct{}

// Help is shown by 'holdfast version --help'.
func (versionCmd) Help() string {
	return `Prints the version, the commit that it was built from if that is known, Go's version and the platform.

Example:
  holdfast version`
}

// Run prints the version.
func (versionCmd) Run(std streams) error {
	revision := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = " " + s.Value[:min(12, len(s.Value))]
			}
		}
	}
	_, err := fmt.Fprintf(std.out, "holdfast %s%s %s %s/%s\n", version, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
