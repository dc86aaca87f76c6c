package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/core/reserve"
	"github.com/vzctl/vzctl/sdk/rendezvous"
)

// A daemon may have been made before, and wait in reserve: it gets what it would have inherited by a message, is held from then on, and knows that its starter is gone by the end of the connection, as that
// knows it of the daemon.

// mission is that message. The files with it are the life lock, the log, and the sockets.
type mission struct {
	Env []byte // variables, each with a zero byte after it: they may be any bytes, and JSON may not
}

// MaxEnv is how many bytes of variables can be sent, with one more for each.
const MaxEnv = 40 << 10

func packed(env []string) (all []byte) {
	for _, variable := range env {
		all = append(append(all, variable...), 0)
	}
	return all
}

// missionFiles are those before the sockets.
const missionFiles = 2

// connection is what holds a daemon that was in reserve. It stays open when that is released: its end is that of the daemon.
type connection struct{ *net.UnixConn }

func (c connection) leave() error { return nil }

func (c connection) withdraw() error {
	err := c.CloseWrite()
	if errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ENOTCONN) { // it has ended
		err = nil
	}
	return err
}

// Send has a daemon that was in reserve be the one of the spec, held, instead of a new one. Its program and arguments are what they are, and its variables those of spec.Env. After an error it has
// ended, and the life lock is free. See Ready.
func Send(t *reserve.Taken, spec Spec) (p *Process, err error) {
	defer func() {
		err = errors.Join(err, spec.Life.Close())
		if err != nil { // what it has must be free for another, also if it has not received the lock
			err = errors.Join(err, t.Close())
		}
	}()
	process, err := os.FindProcess(t.PID) // that is there: it has the other end
	if err != nil {
		return nil, err
	}
	log, from, err := openLog(spec.LogPath, maxLog)
	if err != nil {
		return nil, err
	}
	files := []*os.File{spec.Life.File(), log}
	defer func() { rendezvous.CloseAll(files[1:]) }()
	for _, path := range spec.Sockets {
		file, err := listen(path)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	if err := rendezvous.Send(t.Conn, mission{packed(spec.Env)}, files); err != nil {
		return nil, err
	}
	p = &Process{process: process, logPath: spec.LogPath, logFrom: from, hold: connection{t.Conn}, ready: make(chan struct{}), done: make(chan struct{})}
	go func() {
		if n, _ := t.Conn.Read(make([]byte, 1)); n == 1 {
			close(p.ready)
			_, _ = t.Conn.Read(make([]byte, 1)) // no more is written: this is its end
		}
		_ = t.Conn.Close()
		close(p.done)
	}()
	return p, nil
}

// Receive returns, in a daemon that was in reserve and is taken, what it gets in the place of what it would inherit: environment, stdout, stderr, and the number of sockets that it has. The log is where it logs to.
// From then on the daemon is Ready, unless ctx has ended. The connection ends with the process, whatever becomes of conn: what a daemon has that cannot be used is gone by then.
func Receive(ctx context.Context, conn *net.UnixConn, sockets int, log *Log) (in *Inherited, err error) {
	if err := keep(conn); err != nil {
		return nil, err
	}
	var m mission
	files, err := rendezvous.Receive(conn, &m)
	defer func() { rendezvous.CloseAll(files) }()
	if err != nil {
		return nil, err
	}
	if len(files) != missionFiles+sockets {
		return nil, fmt.Errorf("%d files came, and not %d", len(files), missionFiles+sockets)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	// As in Inherit no os.File is made of what lasts as long as the process: its finalizer would let go of it.
	if err := errors.Join(keep(files[0]), log.Redirect(files[1])); err != nil {
		return nil, err
	}
	os.Clearenv()
	for variable := range strings.SplitSeq(strings.TrimSuffix(string(m.Env), "\x00"), "\x00") {
		name, value, ok := strings.Cut(variable, "=")
		if !ok || name == "" { // as where there are none; and there may be one without a name
			continue
		}
		if err := os.Setenv(name, value); err != nil {
			return nil, fmt.Errorf("set variable %q: %w", name, err)
		}
	}
	in = &Inherited{released: func() bool {
		n, _ := conn.Read(make([]byte, 1)) // its end is the answer
		return n == 1
	}}
	for _, file := range files[missionFiles:] {
		listener, err := listenerOf(file)
		if err != nil {
			return nil, err
		}
		in.Listeners = append(in.Listeners, listener)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, err := conn.Write([]byte{1}); err != nil {
		return nil, err
	}
	return in, nil
}

// keep leaves a duplicate of a descriptor open until the process ends.
func keep(c syscall.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { _, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, firstFD) }); err != nil {
		return err
	}
	return os.NewSyscallError("fcntl", failed)
}
