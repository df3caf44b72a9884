// Package atomicfile replaces files of caches: small, written seldom, read by
// several processes. What must survive a power cut goes through package vfs.
package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
)

// Write replaces a file: whoever reads it meanwhile gets the old one or the new one,
// whole. Only the process's user may read it. What is written first lies beside it, as
// new-…-NAME; a process that is killed may leave that.
func Write(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "new-*-"+filepath.Base(path))
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
