package command

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/core/engine"
)

func TestOutputThatGoesNowhereEndsTheContainer(t *testing.T) {
	r, closed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer closed.Close()
	r.Close()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, test := range []struct {
		name   string
		stdout *os.File
		code   int
		stderr string
	}{
		{"as a process behind a pipe ends, if nobody reads", closed, 141, ""},
		{"with an error if the disk is full", full, 125, "vzctl: write the output: write /dev/full: no space left on device\n"},
	} {
		for way, write := range map[string]func(w io.Writer) error{
			"write": func(w io.Writer) error { return errors.Join(writeTo(w), writeTo(w), writeTo(w)) },
			"copy":  func(w io.Writer) error { _, err := io.Copy(w, strings.NewReader("y\ny\n")); return err },
			// The kernel moves bytes of a socket, but not into every file.
			"copy from a socket": func(w io.Writer) error { _, err := io.Copy(w, socketOf(t, "y\ny\n")); return err },
		} {
			t.Run(test.name+" ("+way+")", func(t *testing.T) {
				killed := make(chan string, 1)
				f := &fake{
					kill: func(signal string) error { killed <- signal; return nil },
					run: func(_ context.Context, streams engine.Streams, started func()) (engine.Exit, error) {
						started()
						if err := write(streams.Stdout); err != nil {
							t.Errorf("the engine sees %v", err)
						}
						if signal := <-killed; signal != "SIGKILL" {
							t.Errorf("the container got %s", signal)
						}
						return engine.Exit{Code: 137, Signal: 9, Reason: "killed"}, nil
					},
				}
				d := newDesk(f)
				d.Stdout = test.stdout
				code := d.run(t, "run", "i", "yes")
				d.wants(t, code, test.code, "", test.stderr)
			})
		}
	}
}

func TestPrintingThatGoesNowhereEndsLikeAnyProgram(t *testing.T) {
	r, closed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer closed.Close()
	r.Close()
	d := newDesk(&fake{})
	d.Stdout = closed
	code := d.run(t, "stop", "a", "b")
	d.wants(t, code, 141, "", "")

	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	d = newDesk(&fake{})
	d.Stdout = full
	code = d.run(t, "ls", "--format", "json")
	d.wants(t, code, 125, "", "vzctl: write the output: write /dev/full: no space left on device\n")
}

// socketOf returns a socket with text to be read from it.
func socketOf(t *testing.T, text string) net.Conn {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	near, far := os.NewFile(uintptr(fds[0]), "near"), os.NewFile(uintptr(fds[1]), "far")
	defer near.Close()
	defer far.Close()
	if _, err := far.WriteString(text); err != nil {
		t.Fatal(err)
	}
	conn, err := net.FileConn(near)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func writeTo(w io.Writer) error {
	_, err := io.WriteString(w, "y\n")
	return err
}
