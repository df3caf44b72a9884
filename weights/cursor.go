package weights

import (
	"encoding/binary"
	"fmt"
)

// cursor reads a file's bytes from front to back. Each read says what it reads,
// so that a file that ends early is reported with what is missing. The fields
// after pos say which item is being read; they are put into errors only.
type cursor struct {
	path string
	data []byte
	pos  int

	section string // "header", "key", "tensor"
	index   int    // number of the item in its section, from 0
	name    string // the item's name, once known
}

// begin notes that item index of a section is read from here on.
func (c *cursor) begin(section string, index int) {
	c.section, c.index, c.name = section, index, ""
}

// where returns the place that an error names.
func (c *cursor) where() string {
	switch {
	case c.section == "header":
		return c.section
	case c.name != "":
		return c.section + " " + printable(c.name)
	}
	return fmt.Sprintf("%s number %d", c.section, c.index)
}

// fail returns an error about the current item, classed by one of the sentinels.
func (c *cursor) fail(class error, format string, args ...any) error {
	return &FormatError{Path: c.path, Where: c.where(), Problem: fmt.Sprintf(format, args...), Err: class}
}

// left returns the number of unread bytes.
func (c *cursor) left() uint64 { return uint64(len(c.data) - c.pos) }

// take returns the next n bytes, which alias the file.
func (c *cursor) take(n uint64, what string) ([]byte, error) {
	if n > c.left() {
		return nil, c.fail(ErrFormat, "file of %d bytes ends while reading %s: %d bytes needed at offset %d",
			len(c.data), what, n, c.pos)
	}
	b := c.data[c.pos : c.pos+int(n) : c.pos+int(n)]
	c.pos += int(n)
	return b, nil
}

func (c *cursor) uint32(what string) (uint32, error) {
	b, err := c.take(4, what)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

func (c *cursor) uint64(what string) (uint64, error) {
	b, err := c.take(8, what)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// count reads a number of items to follow. It refuses one over limit, and one
// whose items could not fit into the rest of the file at minBytes each: memory
// may then be reserved for it.
func (c *cursor) count(what string, limit, minBytes uint64) (int, error) {
	n, err := c.uint64(what)
	if err != nil {
		return 0, err
	}
	if n > limit {
		return 0, c.fail(ErrFormat, "%s is %d, over the limit of %d", what, n, limit)
	}
	if n > c.left()/minBytes {
		return 0, c.fail(ErrFormat, "%s is %d, but only %d bytes of file follow", what, n, c.left())
	}
	return int(n), nil
}

// string reads a length and as many bytes, and returns a copy.
func (c *cursor) string(what string, limit uint64) (string, error) {
	n, err := c.count("length of "+what, limit, 1)
	if err != nil {
		return "", err
	}
	b, err := c.take(uint64(n), what)
	return string(b), err
}
