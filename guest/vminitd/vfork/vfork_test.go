package vfork

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// run has a process do what the script says, with its output on a pipe.
func run(ctx context.Context, t *testing.T, script func(*Script), program string, args ...string) (out string, status unix.WaitStatus, err error) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var s Script
	s.Call("output", unix.SYS_DUP3, write.Fd(), 1, 0)
	s.UnblockSignals()
	script(&s)
	if err := s.Execute(program, append([]string{program}, args...), []string{"WORD=hello"}); err != nil {
		t.Fatal(err)
	}
	pid, err := s.Run(ctx, nil)
	if closeErr := write.Close(); closeErr != nil {
		t.Fatal(closeErr)
	}
	text, readErr := io.ReadAll(read)
	if readErr != nil {
		t.Fatal(readErr)
	}
	if err == nil {
		for {
			if _, waitErr := unix.Wait4(pid, &status, 0, nil); !errors.Is(waitErr, unix.EINTR) {
				break
			}
		}
	}
	return string(text), status, err
}

func TestAProgramIsExecutedThatIsOpen(t *testing.T) {
	program, err := unix.Open("/bin/sh", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(program) }()
	var s Script
	s.UnblockSignals()
	if err := s.ExecuteFile(program, []string{"sh", "-c", `[ "$WORD" = hello ] && exit 7`}, []string{"WORD=hello"}); err != nil {
		t.Fatal(err)
	}
	pid, err := s.Run(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &status, 0, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if status.ExitStatus() != 7 {
		t.Errorf("it ended with %v", status.ExitStatus())
	}
}

func TestAProgramIsExecutedAfterTheCalls(t *testing.T) {
	out, status, err := run(t.Context(), t, func(s *Script) {
		dir, nameErr := unix.BytePtrFromString("/usr")
		if nameErr != nil {
			t.Fatal(nameErr)
		}
		s.Call("change directory", unix.SYS_CHDIR, Pointer(s, dir))
	}, "/bin/sh", "-c", `pwd; echo $WORD; cat /proc/self/status; exit 3`)
	if err != nil || status.ExitStatus() != 3 || !strings.HasPrefix(out, "/usr\nhello\n") || !strings.Contains(out, "\nSigBlk:\t0000000000000000\n") ||
		!strings.Contains(out, "\nSigCgt:\t0000000000000000\n") {
		t.Errorf("%q, %v, %v", out, status.ExitStatus(), err)
	}
}

func TestACallThatFailsIsNamedAndNothingIsExecuted(t *testing.T) {
	out, _, err := run(t.Context(), t, func(s *Script) { s.Call("close", unix.SYS_CLOSE, 1<<20) }, "/bin/echo", "hello")
	if e, ok := errors.AsType[*Error](err); !ok || e.Call != "close" || !errors.Is(err, unix.EBADF) || out != "" {
		t.Errorf("a call: %q, %v", out, err)
	}
	_, _, err = run(t.Context(), t, func(*Script) {}, "/no/such/program")
	if e, ok := errors.AsType[*Error](err); !ok || e.Call != "execute" || !errors.Is(err, unix.ENOENT) {
		t.Errorf("a program that is not there: %v", err)
	}
}

// Meanwhile the parent allocates, has its garbage collected, and moves its stacks.
func TestManyAtOnceDoNotHarmTheParent(t *testing.T) {
	stop := make(chan struct{})
	var busy, all sync.WaitGroup
	busy.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	})
	for range 8 {
		all.Go(func() {
			for range 20 {
				out, status, err := run(t.Context(), t, func(*Script) {}, "/bin/echo", strings.Repeat("hello ", 100))
				if err != nil || status.ExitStatus() != 0 || out != strings.Repeat("hello ", 100)+"\n" {
					t.Errorf("%q, %v, %v", out, status, err)
				}
			}
		})
	}
	all.Wait()
	close(stop)
	busy.Wait()
}

// A program that is on a disk that does not answer is waited for by nobody else, and not for ever.
func TestAProcessThatDoesNotGetToItsProgram(t *testing.T) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, _, err := run(ctx, t, func(s *Script) {
			s.Call("read what never comes", unix.SYS_READ, uintptr(fds[0]), Pointer(s, new([8]byte)), 8)
		}, "/bin/true")
		ended <- err
	}()
	for range 3 {
		runtime.GC() // stops all that runs
	}
	select {
	case err := <-ended:
		t.Fatalf("it ended by itself: %v", err)
	default:
	}
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("it does not end")
	}
	if err := errors.Join(unix.Close(fds[0]), unix.Close(fds[1])); err != nil {
		t.Fatal(err)
	}
}

// TestAProcessThatIsCancelledDoesNotGoOn ends the context at any moment of the making.
func TestAProcessThatIsCancelledDoesNotGoOn(t *testing.T) {
	cancelled := 0
	for i := 0; cancelled < 500; i++ {
		ctx, cancel := context.WithCancel(t.Context())
		moment := time.Duration(i%80) * 5 * time.Microsecond
		go func() {
			for begun := time.Now(); time.Since(begun) < moment; { // a timer is not so exact
			}
			cancel()
		}()
		var s Script
		s.UnblockSignals()
		if err := s.Execute("/bin/sleep", []string{"sleep", "600"}, nil); err != nil {
			t.Fatal(err)
		}
		pid, err := s.Run(ctx, nil)
		if err == nil {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		} else if cancelled++; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if pid == 0 {
			continue // there never was one
		}
		reaped := make(chan struct{})
		go func() {
			defer close(reaped)
			for {
				if _, err := unix.Wait4(pid, nil, 0, nil); !errors.Is(err, unix.EINTR) {
					return
				}
			}
		}()
		select {
		case <-reaped:
		case <-time.After(20 * time.Second):
			_ = unix.Kill(pid, unix.SIGKILL)
			t.Fatalf("process %d goes on", pid)
		}
	}
}
