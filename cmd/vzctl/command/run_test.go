package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vzctl/vzctl/core/engine"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/progress"
)

func TestRunEndsWithTheCodeOfTheProcess(t *testing.T) {
	execute := func(reason fault.Reason) error {
		inner := &fault.Error{Reason: reason, Op: "execute", Subject: "/bin/x", Cause: errors.New("no luck")}
		return fmt.Errorf("start container: %w", errors.Join(inner, errors.New("and more")))
	}
	for _, test := range []struct {
		name   string
		exit   engine.Exit
		err    error
		code   int
		stderr string
	}{
		{"success", engine.Exit{Reason: "exited"}, nil, 0, ""},
		{"its own failure", engine.Exit{Code: 3, Reason: "exited"}, nil, 3, ""},
		{"a signal", engine.Exit{Code: 137, Signal: 9, Reason: "killed"}, nil, 137, ""},
		{"out of memory", engine.Exit{Code: 137, Signal: 9, Reason: "oom", Message: "it needed more than 64 MiB"}, nil, 137, "vzctl: it needed more than 64 MiB\n"},
		{"a VM that crashed is no success", engine.Exit{Reason: "vm-crashed"}, nil, 125, "vzctl: the container ended: vm-crashed\n"},
		{"no such command", engine.Exit{}, execute(fault.NotFound), 127, "vzctl: start container: execute \"/bin/x\": no luck; and more\n"},
		{"a command that is not executable", engine.Exit{}, execute(fault.PermissionDenied), 126, "vzctl: start container: execute \"/bin/x\": no luck; and more\n"},
		{"anything else is vzctl's failure", engine.Exit{}, &fault.Error{Reason: fault.NotFound, Op: "find image", Subject: "i"}, 125, "vzctl: find image \"i\": not found\n"},
		{"a message with what a terminal would obey", engine.Exit{}, errors.New("bad\x1b[2J\nworse"), 125, "vzctl: bad?[2J; worse\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &fake{run: func(_ context.Context, _ engine.Streams, started func()) (engine.Exit, error) {
				if test.err == nil {
					started()
				}
				return test.exit, test.err
			}}
			d := newDesk(f)
			code := d.run(t, "run", "i")
			d.wants(t, code, test.code, "", test.stderr)
			calls := "create i, attachstart id1"
			if test.err != nil {
				calls += ", rm -f id1" // nothing is left of what never ran
			}
			if f.noted() != calls {
				t.Errorf("calls: %s; want %s", f.noted(), calls)
			}
		})
	}
}

func TestStdinOutputAndErrorsPassUnmixedAndUnchanged(t *testing.T) {
	odd := "\x00\xff\r\n no newline"
	f := &fake{run: func(_ context.Context, streams engine.Streams, started func()) (engine.Exit, error) {
		started()
		in, err := io.ReadAll(streams.Stdin)
		_, _ = io.Copy(streams.Stdout, strings.NewReader(string(in)))
		_, _ = io.WriteString(streams.Stderr, "err"+odd)
		return engine.Exit{Code: 1}, err
	}}
	d := newDesk(f)
	d.Stdin = strings.NewReader(odd)
	code := d.run(t, "run", "-i", "i", "cat")
	d.wants(t, code, 1, odd, "err"+odd)
}

func TestWithoutInteractiveThereIsNoStdin(t *testing.T) {
	f := &fake{run: func(_ context.Context, streams engine.Streams, started func()) (engine.Exit, error) {
		started()
		if streams.Stdin != nil {
			t.Error("stdin is connected")
		}
		return engine.Exit{}, nil
	}}
	if code := newDesk(f).run(t, "run", "i"); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestRunDetachedPrintsTheID(t *testing.T) {
	f := &fake{}
	d := newDesk(f)
	code := d.run(t, "run", "-d", "i")
	d.wants(t, code, 0, "id1\n", "")
	if f.noted() != "create i, start id1" {
		t.Errorf("calls: %s", f.noted())
	}
}

func TestRunDetachedTakesBackWhatDoesNotStart(t *testing.T) {
	f := &fake{missing: map[string]bool{"id1": true}} // rm finds nothing either, which is as good
	d := newDesk(f)
	code := d.run(t, "run", "-d", "i")
	d.wants(t, code, 125, "", "vzctl: find container \"id1\": not found\n")
	if f.noted() != "create i, start id1, rm -f id1" {
		t.Errorf("calls: %s", f.noted())
	}
}

func TestRunWithRmReturnsWhenTheContainerIsGone(t *testing.T) {
	f := &fake{}
	d := newDesk(f)
	code := d.run(t, "run", "--rm", "i")
	d.wants(t, code, 0, "", "")
	if f.noted() != "create i, attachstart id1, rm -f id1" {
		t.Errorf("calls: %s", f.noted())
	}
}

func TestRunWithRmLeavesAContainerThatIsRestarted(t *testing.T) {
	f := &fake{run: func(_ context.Context, _ engine.Streams, started func()) (engine.Exit, error) {
		started()
		return engine.Exit{Code: 143, Reason: "killed", Kept: true}, nil
	}}
	d := newDesk(f)
	code := d.run(t, "run", "--rm", "i")
	d.wants(t, code, 143, "", "")
	if f.noted() != "create i, attachstart id1" {
		t.Errorf("calls: %s", f.noted())
	}
}

func TestCidfile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cid")
	f := &fake{}
	d := newDesk(f)
	code := d.run(t, "create", "--cidfile", path, "i")
	d.wants(t, code, 0, "id1\n", "")
	if content, err := os.ReadFile(path); string(content) != "id1" {
		t.Errorf("the file holds %q, %v", content, err)
	}
	t.Run("that exists is refused before anything happens", func(t *testing.T) {
		f := &fake{}
		d := newDesk(f)
		code := d.run(t, "create", "--cidfile", path, "i")
		d.wants(t, code, 125, "", "vzctl: --cidfile: open "+path+": file exists\n")
		if f.noted() != "" {
			t.Errorf("calls: %s", f.noted())
		}
	})
	t.Run("of a container that was not made is not left", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "cid")
		f := &fake{create: func(context.Context, progress.Func) error { return errors.New("no") }}
		d := newDesk(f)
		code := d.run(t, "create", "--cidfile", path, "i")
		d.wants(t, code, 125, "", "vzctl: no\n")
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the file: %v", err)
		}
	})
}

func TestCtrlCWhileCreatingGivesUp(t *testing.T) {
	var d *desk
	f := &fake{create: func(ctx context.Context, _ progress.Func) error {
		d.signals <- syscall.SIGINT
		<-ctx.Done()
		return fmt.Errorf("pull image: %w", ctx.Err())
	}}
	d = newDesk(f)
	code := d.run(t, "run", "i")
	d.wants(t, code, 130, "", "vzctl: interrupted\n")
	if f.noted() != "create i" {
		t.Errorf("calls: %s", f.noted())
	}
}

func TestCtrlCWhileStartingLeavesNothing(t *testing.T) {
	var d *desk
	f := &fake{run: func(ctx context.Context, _ engine.Streams, _ func()) (engine.Exit, error) {
		d.signals <- syscall.SIGTERM
		<-ctx.Done()
		return engine.Exit{}, ctx.Err()
	}}
	d = newDesk(f)
	code := d.run(t, "run", "i")
	d.wants(t, code, 143, "", "vzctl: interrupted\n")
	if f.noted() != "create i, attachstart id1, rm -f id1" {
		t.Errorf("calls: %s", f.noted())
	}
}

func TestTheThirdCtrlCEndsACleaningUpThatHangs(t *testing.T) {
	var d *desk
	f := &fake{create: func(ctx context.Context, _ progress.Func) error {
		for range patience {
			d.signals <- syscall.SIGINT
		}
		if code := <-d.exited; code != 130 {
			t.Errorf("exit code %d", code)
		}
		return ctx.Err()
	}}
	d = newDesk(f)
	d.run(t, "run", "i")
	if !strings.Contains(d.stderr.String(), "interrupted while cleaning up") {
		t.Errorf("stderr: %q", d.stderr.String())
	}
}

func TestSignalsGoToTheContainerAndTheThirdKillsIt(t *testing.T) {
	var d *desk
	got := make(chan string)
	f := &fake{
		kill: func(signal string) error { got <- signal; return nil },
		run: func(ctx context.Context, _ engine.Streams, started func()) (engine.Exit, error) {
			started()
			for _, step := range []struct {
				send syscall.Signal
				want string
			}{
				{syscall.SIGUSR1, "SIGUSR1"}, {syscall.SIGINT, "SIGINT"}, {syscall.SIGUSR2, "SIGUSR2"}, {syscall.SIGHUP, "SIGHUP"}, {syscall.SIGTERM, "SIGKILL"},
			} {
				d.signals <- step.send
				if signal := <-got; signal != step.want {
					t.Errorf("after %v the container got %s; want %s", step.send, signal, step.want)
				}
			}
			return engine.Exit{Code: 137, Signal: 9, Reason: "killed"}, ctx.Err()
		},
	}
	d = newDesk(f)
	code := d.run(t, "run", "i")
	d.wants(t, code, 137, "", "")
}

func TestCtrlCEndsFollowingQuietly(t *testing.T) {
	var d *desk
	f := &fake{logs: func(ctx context.Context, stdout io.Writer) error {
		_, _ = io.WriteString(stdout, "line\n")
		d.signals <- syscall.SIGINT
		<-ctx.Done()
		return ctx.Err()
	}}
	d = newDesk(f)
	code := d.run(t, "logs", "-f", "c")
	d.wants(t, code, 130, "line\n", "")
}

func TestCtrlCGivesUpAnExec(t *testing.T) {
	var d *desk
	f := &fake{run: func(ctx context.Context, _ engine.Streams, _ func()) (engine.Exit, error) {
		d.signals <- syscall.SIGINT
		<-ctx.Done()
		return engine.Exit{}, ctx.Err()
	}}
	d = newDesk(f)
	code := d.run(t, "exec", "c", "sleep", "1000")
	d.wants(t, code, 130, "", "vzctl: interrupted\n")
}

func TestAttachPassesSignalsOnUnlessToldNotTo(t *testing.T) {
	for args, want := range map[string]string{"": "inspect c, attach c, kill SIGINT c", "--sig-proxy=false": "inspect c, attach c"} {
		var d *desk
		f := &fake{}
		killed := make(chan struct{}, 1)
		f.kill = func(string) error { killed <- struct{}{}; return nil }
		f.run = func(ctx context.Context, _ engine.Streams, _ func()) (engine.Exit, error) {
			d.signals <- syscall.SIGINT
			select {
			case <-killed:
				return engine.Exit{Code: 130}, nil
			case <-ctx.Done():
				return engine.Exit{}, ctx.Err()
			}
		}
		d = newDesk(f)
		code := d.run(t, append([]string{"attach", "c"}, strings.Fields(args)...)...)
		if code != 130 || f.noted() != want {
			t.Errorf("attach %s: exit code %d, calls %s; want %s", args, code, f.noted(), want)
		}
	}
}

func TestSeveralNamesEachHaveTheirTurn(t *testing.T) {
	for _, verb := range []string{"start", "stop", "kill", "rm"} {
		f := &fake{missing: map[string]bool{"b": true}}
		d := newDesk(f)
		code := d.run(t, verb, "a", "b", "c")
		d.wants(t, code, 1, "a\nc\n", "vzctl: find container \"b\": not found\n")
	}
}

func TestWaitPrintsExitCodes(t *testing.T) {
	d := newDesk(&fake{missing: map[string]bool{"b": true}})
	code := d.run(t, "wait", "a", "b", "ccc")
	d.wants(t, code, 1, "1\n3\n", "vzctl: find container \"b\": not found\n")
}

func TestStartAttachedEndsWithTheCodeOfTheProcess(t *testing.T) {
	f := &fake{run: func(_ context.Context, streams engine.Streams, started func()) (engine.Exit, error) {
		started()
		_, err := io.WriteString(streams.Stdout, "out")
		return engine.Exit{Code: 4}, err
	}}
	d := newDesk(f)
	code := d.run(t, "start", "-a", "c")
	d.wants(t, code, 4, "out", "")
}

func TestMessagesCanBeJSON(t *testing.T) {
	d := newDesk(&fake{missing: map[string]bool{"b": true}})
	code := d.run(t, "--log-format", "json", "stop", "b")
	d.wants(t, code, 1, "", `{"@level":"error","@message":"find container \"b\": not found","@module":"vzctl"}`+"\n")
}
