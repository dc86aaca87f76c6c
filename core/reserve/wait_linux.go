package reserve

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/sdk/rendezvous"
)

const (
	// most is how many may wait below one root.
	most = 2
	// patience is how long one who takes a process may need to say what for.
	patience = 10 * time.Second

	turnName   = "turn" // its lock is held by who claims
	lockSuffix = ".lock"
	goneInfix  = "-gone-" // in the name of the directory of one that is taken, or ends
)

// Claim returns the right to have a process wait for a key: the lock that it holds until it is taken, or ends. It is nil if one waits already. Of those who wait for other keys, the one that has for longest ends
// if they are too many. forget is called with the ids of those that were killed while they waited.
func (p Place) Claim(ctx context.Context, key string, forget func(id string) error) (*lock.Lock, error) {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, err
	}
	turn, err := lock.Acquire(ctx, filepath.Join(p.dir, turnName))
	if err != nil {
		return nil, err
	}
	defer turn.Close()
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return nil, err
	}
	waiting := map[string]bool{}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), lockSuffix); ok {
			held, err := lock.Held(filepath.Join(p.dir, e.Name()))
			if err != nil {
				return nil, err
			}
			if held {
				waiting[name] = true
			}
		}
	}
	if waiting[key] {
		return nil, nil
	}
	oldest, since := "", time.Now()
	for _, e := range entries {
		name := e.Name()
		of, _, _ := strings.Cut(strings.TrimSuffix(name, lockSuffix), goneInfix)
		info, err := e.Info()
		switch {
		case err != nil || len(of) != keyLength:
		case !waiting[of]: // left by one who was killed
			if strings.Contains(name, goneInfix) && time.Since(info.ModTime()) < 2*patience {
				continue
			}
			if err := errors.Join(p.forgetAll(name, forget), os.RemoveAll(filepath.Join(p.dir, name))); err != nil {
				return nil, err
			}
		case info.IsDir() && name == of && info.ModTime().Before(since):
			oldest, since = name, info.ModTime()
		}
	}
	if len(waiting) >= most && oldest != "" {
		if conn, _ := p.take(oldest); conn != nil {
			_ = conn.Close() // by which it ends
		}
	}
	held, err := lock.Try(filepath.Join(p.dir, key+lockSuffix))
	if errors.Is(err, lock.ErrHeld) {
		return nil, nil
	}
	return held, err
}

// forgetAll calls forget for who has waited in a directory, if it is one.
func (p Place) forgetAll(name string, forget func(id string) error) error {
	sockets, err := os.ReadDir(filepath.Join(p.dir, name))
	if errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	for _, s := range sockets {
		if valid(s.Name()) {
			err = errors.Join(err, forget(s.Name()))
		}
	}
	return err
}

// Waiter is the process that waits, as it sees itself.
type Waiter struct {
	place       Place
	dir, hidden string // while it can be taken, and before and after that
	listener    *net.UnixListener
}

// Open is called in the process that is to wait, whose claim is held: what it will look after has the id, which is on the disk from now on, so that who finds what is left of this process can tell what it
// has made for that. Close undoes it.
func (p Place) Open(key, id string) (*Waiter, error) {
	w := &Waiter{place: p, dir: filepath.Join(p.dir, key), hidden: filepath.Join(p.dir, key+goneInfix+id)}
	if err := os.Mkdir(w.hidden, 0o700); err != nil {
		return nil, err
	}
	var err error
	if w.listener, err = rendezvous.Listen(w.hidden, id); err != nil {
		return nil, errors.Join(err, os.RemoveAll(w.hidden))
	}
	return w, nil
}

// Close is called when all that was made for the id is gone, or somebody has it.
func (w *Waiter) Close() error { return errors.Join(w.listener.Close(), os.RemoveAll(w.hidden)) }

// Wait returns the connection to who takes this process, and by which that tells what for; or ErrNotWanted after keep, once the directory is removed, or when ctx ends; another error says why it cannot wait. The process ends with the
// connection, which it leaves open until it does.
func (w *Waiter) Wait(ctx context.Context, keep time.Duration) (*net.UnixConn, error) {
	if err := os.Rename(w.hidden, w.dir); err != nil {
		return nil, err
	}
	idle, stop := context.WithTimeout(ctx, keep)
	defer stop()
	removed, watchErr := rendezvous.AwaitRemoval(idle, w.dir)
	if watchErr != nil { // as when it was taken just now
		stop()
	}
	taken := make(chan *net.UnixConn, 1)
	go func() {
		conn, err := w.listener.AcceptUnix()
		if err != nil {
			conn = nil
		}
		taken <- conn
	}()
	select {
	case conn := <-taken:
		return accepted(conn)
	case <-removed: // or idle is over
	case <-idle.Done():
	}
	if err := os.Rename(w.dir, w.hidden); err == nil {
		_ = w.listener.Close()
		if conn := <-taken; conn != nil { // of one who has not taken it
			_ = conn.Close()
		}
		if watchErr != nil {
			return nil, watchErr
		}
		return nil, ErrNotWanted
	}
	// Somebody has it, or it was removed.
	deadline := time.Now().Add(patience)
	if _, err := os.Lstat(w.place.dir); err != nil {
		deadline = time.Now() // with all places in which somebody could have it
	}
	if err := w.listener.SetDeadline(deadline); err != nil {
		return nil, err
	}
	return accepted(<-taken)
}

func accepted(conn *net.UnixConn) (*net.UnixConn, error) {
	if conn == nil {
		return nil, ErrNotWanted
	}
	return conn, conn.SetDeadline(time.Now().Add(patience))
}

// Taken is a process that has waited, and belongs to who took it. It ends with the connection.
type Taken struct {
	ID   string
	PID  int
	Conn *net.UnixConn
}

// Take takes the process that waits for a key, if there is one and it executes a program; nil otherwise. forget is called with the id of one that was killed.
func (p Place) Take(key, program string, forget func(id string) error) *Taken {
	conn, id := p.take(key)
	if conn == nil {
		if id != "" {
			_ = forget(id) // or it stays; nobody asked for this
		}
		return nil
	}
	pid, same, err := rendezvous.Peer(conn, program)
	t := &Taken{ID: id, PID: pid, Conn: conn}
	switch {
	case err != nil: // it is just dying, of whose threads one does so after another
		_, _ = t.Close(), forget(id)
		return nil
	case !same:
		_ = conn.Close()
		return nil
	}
	return t
}

// take returns the connection to the process that waits for a key, and its id; nil if there is none, with the id of one that was killed.
func (p Place) take(key string) (conn *net.UnixConn, id string) {
	dir := filepath.Join(p.dir, key)
	if _, err := os.Lstat(dir); err != nil {
		return nil, ""
	}
	mine := filepath.Join(p.dir, key+goneInfix+rand.Text())
	if err := os.Rename(dir, mine); err != nil {
		return nil, ""
	}
	defer os.RemoveAll(mine)
	names, err := os.ReadDir(mine)
	if err != nil || len(names) != 1 || !valid(names[0].Name()) {
		return nil, ""
	}
	id = names[0].Name()
	if conn, err = rendezvous.Dial(mine, id); err != nil {
		return nil, id
	}
	return conn, id
}

// Close gives up one that was taken, and returns when it has ended, or does not within some time.
func (t *Taken) Close() error {
	if err := t.Conn.CloseWrite(); err == nil {
		_ = t.Conn.SetReadDeadline(time.Now().Add(patience))
		for {
			if n, err := t.Conn.Read(make([]byte, 1)); n == 0 || err != nil {
				break
			}
		}
	}
	return t.Conn.Close()
}
