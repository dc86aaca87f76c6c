package command

import (
	"context"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/vzctl/vzctl/core/engine"
)

func TestKeysThatDetachLeaveTheProcessRunning(t *testing.T) {
	for _, test := range []struct {
		name, args, typed, passed, calls, says string
	}{
		{"run", "run -it --rm i", "ab\x10\x11", "ab", "create i, attachstart id1", `web, which goes on; "vzctl attach web" connects again`},
		{"attach", "attach c", "\x10\x10\x11", "\x10", "inspect c, attach c", `web, which goes on; "vzctl attach web" connects again`},
		{"start", "start -ai c", "x\x10\x11", "x", "inspect c, attachstart c", `web, which goes on; "vzctl attach web" connects again`},
		{"exec", "exec -it c sh", "a\x10b\x10\x11", "a\x10b", "exec c", `a process of c, which goes on`},
		{"other keys", "run -it --detach-keys ctrl-a,d i", "\x10\x11\x01d", "\x10\x11", "create i, attachstart id1", `web, which goes on; "vzctl attach web" connects again`},
	} {
		t.Run(test.name, func(t *testing.T) {
			user, program := pseudoTerminal(t)
			before := attributes(t, program)
			f := &fake{terminal: true, name: "web", run: func(ctx context.Context, streams engine.Streams, started func()) (engine.Exit, error) {
				started()
				if _, err := user.WriteString(test.typed); err != nil {
					t.Error(err)
				}
				got := make([]byte, len(test.passed))
				if _, err := io.ReadFull(streams.Stdin, got); err != nil || string(got) != test.passed {
					t.Errorf("the process gets %q, %v; want %q", got, err, test.passed)
				}
				go streams.Stdin.Read(make([]byte, 1)) // as the engine does
				select {
				case <-streams.Detach:
				case <-ctx.Done():
					t.Error("the keys are not noticed")
				}
				return engine.Exit{}, engine.ErrDetached
			}}
			d := newDesk(f)
			d.Stdin, d.Stdout = program, program
			code := d.run(t, strings.Fields(test.args)...)
			d.wants(t, code, 0, "", "vzctl: detached from "+test.says+"\n")
			if f.noted() != test.calls {
				t.Errorf("calls %s; want %s", f.noted(), test.calls)
			}
			if attributes(t, program) != before {
				t.Error("the terminal is not as it was")
			}
		})
	}
}

func TestWithoutDetachKeysAllKeysAreTheProcesss(t *testing.T) {
	user, program := pseudoTerminal(t)
	f := &fake{run: func(_ context.Context, streams engine.Streams, started func()) (engine.Exit, error) {
		started()
		if _, err := user.WriteString("\x10\x11"); err != nil {
			t.Error(err)
		}
		got := make([]byte, 2)
		if _, err := io.ReadFull(streams.Stdin, got); err != nil || string(got) != "\x10\x11" {
			t.Errorf("the process gets %q, %v", got, err)
		}
		return engine.Exit{}, nil
	}}
	d := newDesk(f)
	d.Stdin, d.Stdout = program, program
	code := d.run(t, "run", "-it", "--detach-keys=", "i")
	d.wants(t, code, 0, "", "")
}

func TestARunThatDoesNotHandSignalsOnLeavesItsContainer(t *testing.T) {
	var d *desk
	f := &fake{}
	f.run = func(ctx context.Context, _ engine.Streams, started func()) (engine.Exit, error) {
		started()
		d.signals <- syscall.SIGINT
		<-ctx.Done()
		return engine.Exit{}, ctx.Err()
	}
	d = newDesk(f)
	code := d.run(t, "run", "--rm", "--sig-proxy=false", "i")
	d.wants(t, code, 130, "", "vzctl: interrupted\n")
	if calls := "create i, attachstart id1"; f.noted() != calls {
		t.Errorf("calls %s; want %s", f.noted(), calls)
	}
}

func TestDetachKeysThatAreNoneAreRefused(t *testing.T) {
	d := newDesk(&fake{})
	code := d.run(t, "run", "-it", "--detach-keys", "ctrl-1", "i")
	d.wants(t, code, 125, "", `vzctl: --detach-keys "ctrl-1": use keys like ctrl-p,ctrl-q; a key is one character, or ctrl- and a letter or one of @ [ \ ] ^ _`+"\n")
}
