//go:build linux

package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal with a program behind it.
type terminal struct {
	t      *testing.T
	master *os.File
	seen   string
}

func openTerminal(t *testing.T, args ...string) (*terminal, *exec.Cmd) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	defer slave.Close()
	cmd := exec.Command(binary(t), args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	// Fd makes the file block; a timer ends a test whose program is silent.
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() { timer.Stop() })
	return &terminal{t: t, master: master}, cmd
}

// until reads until the terminal shows text after what was read before.
func (c *terminal) until(text string) string {
	c.t.Helper()
	b := make([]byte, 4096)
	for !strings.Contains(c.seen, text) {
		n, err := c.master.Read(b)
		if err != nil {
			c.t.Fatalf("no %q in %q: %v", text, c.seen, err)
		}
		c.seen += string(b[:n])
	}
	before, after, _ := strings.Cut(c.seen, text)
	c.seen = after
	return before
}

func (c *terminal) write(text string) {
	c.t.Helper()
	if _, err := c.master.WriteString(text); err != nil {
		c.t.Fatal(err)
	}
}

// TestConversation talks in a terminal: an answer is stopped with Ctrl-C, the
// conversation goes on and is forgotten, and Ctrl-D leaves.
func TestConversation(t *testing.T) {
	c, cmd := openTerminal(t, "run", "--model", tinyModel, "--temp", "0")
	c.until("Ctrl-D leaves.")
	c.until("> ")
	c.write("hello\n")
	c.until("\n")
	whole := c.until("\r\n> ")
	if strings.TrimSpace(whole) == "" {
		t.Error("no answer")
	}
	c.write("/clear\n")
	c.until("> ")
	c.write("\x03") // at the prompt it does nothing
	c.until("\n> ")
	c.write("hello\n")
	c.until("\n")
	if again := c.until("\r\n> "); again != whole {
		t.Errorf("after /clear:\n%q\nbefore:\n%q", again, whole)
	}
	c.write("/clear\n")
	c.until("> ")
	c.write("one\n")
	c.until("\n")
	c.write("\x03") // which has the terminal forget what was said and not read yet, perhaps a last line's end
	start := time.Now()
	c.until("> ")
	t.Logf("stopped after %v", time.Since(start))
	c.write("\x04")
	_, _ = io.Copy(io.Discard, c.master) // until nobody has the other end
	if err := cmd.Wait(); err != nil {
		t.Errorf("exit: %v", err)
	}
}
