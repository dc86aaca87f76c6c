package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/core/engine"
	"github.com/vzctl/vzctl/sdk/progress"
)

// pseudoTerminal returns the user's end and the program's.
func pseudoTerminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { user.Close() })
	if err := unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	resize(t, user, 80, 24)
	return user, program
}

func resize(t *testing.T, f *os.File, width, height uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(f.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: width, Row: height}); err != nil {
		t.Fatal(err)
	}
}

func attributes(t *testing.T, f *os.File) unix.Termios {
	t.Helper()
	a, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *a
}

func TestARunWithATerminal(t *testing.T) {
	for _, test := range []struct {
		name string
		exit engine.Exit
		err  error
		code int
	}{
		{"that ends well gives the terminal back", engine.Exit{}, nil, 0},
		{"that fails gives the terminal back", engine.Exit{Code: 3}, nil, 3},
		{"whose supervisor is lost gives the terminal back", engine.Exit{}, errors.New("lost"), 125},
	} {
		t.Run(test.name, func(t *testing.T) {
			user, program := pseudoTerminal(t)
			before := attributes(t, program)
			f := &fake{run: func(_ context.Context, streams engine.Streams, started func()) (engine.Exit, error) {
				if attributes(t, program) != before {
					t.Error("before the process runs Ctrl-C must be vzctl's")
				}
				if size := <-streams.Resize; size != (engine.WindowSize{Width: 80, Height: 24}) {
					t.Errorf("size %v", size)
				}
				started()
				if a := attributes(t, program); a.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 {
					t.Errorf("the terminal is not raw: %#x", a.Lflag)
				}
				if streams.Stderr != nil {
					t.Error("a terminal has one output")
				}
				if _, err := user.WriteString("\x03"); err != nil {
					t.Error(err)
				}
				var key [1]byte
				if _, err := io.ReadFull(streams.Stdin, key[:]); err != nil || key[0] != 3 {
					t.Errorf("Ctrl-C arrives as %v, %v; want the key", key, err)
				}
				resize(t, user, 100, 30)
				if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
					t.Error(err)
				}
				if size := <-streams.Resize; size != (engine.WindowSize{Width: 100, Height: 30}) {
					t.Errorf("size %v", size)
				}
				return test.exit, test.err
			}}
			d := newDesk(f)
			d.Stdin, d.Stdout = program, program
			if code := d.run(t, "run", "-it", "i"); code != test.code {
				t.Errorf("exit code %d; want %d", code, test.code)
			}
			if attributes(t, program) != before {
				t.Error("the terminal is not as it was")
			}
		})
	}
}

func TestATerminalThatIsClosed(t *testing.T) {
	for _, test := range []struct {
		name, args, calls string
	}{
		{"ends a container that SIGHUP does not end", "run -it i", "kill SIGHUP, kill SIGKILL"},
		{"disconnects from one that was attached to", "attach c", "kill SIGHUP, disconnected"},
	} {
		t.Run(test.name, func(t *testing.T) {
			user, program := pseudoTerminal(t)
			signals := make(chan os.Signal, 1)
			calls := make(chan string, 5)
			f := &fake{
				kill: func(signal string) error { calls <- "kill " + signal; return nil },
				run: func(ctx context.Context, _ engine.Streams, started func()) (engine.Exit, error) {
					started()
					if err := user.Close(); err != nil {
						t.Error(err)
					}
					signals <- syscall.SIGHUP
					var got []string
					for len(got) < 2 {
						select {
						case call := <-calls:
							got = append(got, call)
						case <-ctx.Done():
							got = append(got, "disconnected")
						}
					}
					if got := strings.Join(got, ", "); got != test.calls {
						t.Errorf("got %s, want %s", got, test.calls)
					}
					return engine.Exit{Code: 137, Signal: 9, Reason: "killed"}, ctx.Err()
				},
				terminal: true,
			}
			d := newDesk(f)
			d.Stdin, d.Stdout, d.Signals = program, program, signals
			code := d.run(t, strings.Fields(test.args)...)
			d.wants(t, code, 129, "", "")
		})
	}
}

func TestExecBeginsWithTheSizeOfTheTerminal(t *testing.T) {
	_, program := pseudoTerminal(t)
	f := &fake{}
	d := newDesk(f)
	d.Stdin, d.Stdout = program, program
	if code := d.run(t, "exec", "-it", "c", "sh"); code != 0 || f.execRequest.Size != (engine.WindowSize{Width: 80, Height: 24}) || !f.execRequest.Terminal {
		t.Errorf("exit code %d, %+v", code, f.execRequest)
	}
}

// Bars of a pull are wiped before the container writes its first byte.
func TestBarsAreGoneBeforeOutput(t *testing.T) {
	user, program := pseudoTerminal(t)
	screen := bufio.NewReader(user)
	f := &fake{
		create: func(_ context.Context, report progress.Func) error {
			for done := range int64(5) {
				report(progress.Update{Step: "pull", Item: "sha256:0123456789abcdef", Done: done, Total: 10, Unit: progress.Bytes})
			}
			report(progress.Update{Step: "pull", Item: "sha256:ffff", Done: 7, Total: 7, Unit: progress.Bytes})
			report(progress.Update{Step: "unpack\x1b[2J", Item: "files", Done: 7, Unit: progress.Items})
			shown := readUntil(t, screen, "unpack")
			if !strings.Contains(shown, "pull 0123456789ab ") || !strings.Contains(shown, "4 B / 10 B") || strings.Contains(shown, "\x1b[2J") {
				t.Errorf("while pulling the screen gets %q", shown)
			}
			return nil
		},
		run: func(_ context.Context, streams engine.Streams, started func()) (engine.Exit, error) {
			started()
			_, err := io.WriteString(streams.Stderr, "first byte\n")
			return engine.Exit{}, err
		},
	}
	d := newDesk(f)
	d.Stderr = program
	if code := d.run(t, "run", "i"); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if shown := readUntil(t, screen, "first byte"); !strings.HasSuffix(shown, "\x1b[Jfirst byte") {
		t.Errorf("before the first byte the screen gets %q; want it to end with what clears it", shown)
	}
}

// readUntil returns what comes up to and with the end.
func readUntil(t *testing.T, r *bufio.Reader, end string) string {
	t.Helper()
	var seen strings.Builder
	for !strings.HasSuffix(seen.String(), end) {
		b, err := r.ReadByte()
		if err != nil {
			t.Fatalf("%v after %q", err, seen.String())
		}
		seen.WriteByte(b)
	}
	return seen.String()
}
