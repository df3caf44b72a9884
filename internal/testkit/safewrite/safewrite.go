// Package safewrite builds safetensors files and folders of them for tests. It
// shares no code with the reader that it tests.
package safewrite

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Tensor is one tensor: DType as the format calls it, Data as stored.
type Tensor struct {
	Name, DType string
	Shape       []int
	Data        []byte
}

// Raw returns a file of any header and data.
func Raw(header string, data []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

// Build returns a valid file of tensors, in their order.
func Build(tensors ...Tensor) []byte {
	header, data := "{", []byte(nil)
	for i, t := range tensors {
		shape, _ := json.Marshal(append([]int{}, t.Shape...))
		name, _ := json.Marshal(t.Name)
		if i > 0 {
			header += ","
		}
		header += fmt.Sprintf(`%s:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, name, t.DType, shape, len(data), len(data)+len(t.Data))
		data = append(data, t.Data...)
	}
	return Raw(header+"}", data)
}

// Index returns a model.safetensors.index.json of the files by tensor.
func Index(files map[string]string) []byte {
	data, err := json.Marshal(map[string]any{"weight_map": files})
	if err != nil {
		panic(err)
	}
	return data
}

// Folder writes files to a new folder and returns its path.
func Folder(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
