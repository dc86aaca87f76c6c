package reserve

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
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

// Claim returns the right to have a process wait for a key: the lock that it holds until it is taken, or ends. It is nil if one waits already. Of those who wait for others, the one that has for longest ends
// if they are too many. forget is called with the ids of those
// that were killed while they waited.
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
	if len(waiting) >= most && oldest != "" { // it notices, and ends
		if err := os.RemoveAll(filepath.Join(p.dir, oldest)); err != nil {
			return nil, err
		}
	}
	held, err := lock.Try(filepath.Join(p.dir, key+lockSuffix))
	if errors.Is(err, lock.ErrHeld) {
		return nil, nil
	}
	return held, err
}

// forgetAll calls forget for who has waited in a directory of a key, if it is one.
func (p Place) forgetAll(name string, forget func(id string) error) error {
	if !valid(name) {
		return nil
	}
	sockets, err := os.ReadDir(filepath.Join(p.dir, name))
	for _, s := range sockets {
		err = errors.Join(err, forget(s.Name()))
	}
	return err
}

// Wait is called in the process that waits, whose claim is held: what it will look after has the id. It returns the connection to who takes it, and by which that tells what for; or ErrNotWanted
// after keep, once the directory is removed, or when ctx ends.
func (p Place) Wait(ctx context.Context, key, id string, keep time.Duration) (*net.UnixConn, error) {
	dir, gone := filepath.Join(p.dir, key), filepath.Join(p.dir, key+goneInfix+id)
	if err := os.Mkdir(gone, 0o700); err != nil {
		return nil, err
	}
	listener, err := rendezvous.Listen(gone, id)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(gone))
	}
	defer listener.Close()
	if err := os.Rename(gone, dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(gone))
	}
	idle, stop := context.WithTimeout(ctx, keep)
	defer stop()
	removed, err := rendezvous.AwaitRemoval(idle, dir)
	if err != nil { // as when it was taken just now
		stop()
	}
	taken := make(chan *net.UnixConn, 1)
	go func() {
		conn, err := listener.AcceptUnix()
		if err != nil {
			conn = nil
		}
		taken <- conn
	}()
	select {
	case conn := <-taken:
		return accepted(conn)
	case <-removed:
	case <-idle.Done():
	}
	if err := os.Rename(dir, gone); err == nil {
		_ = listener.Close()
		if conn := <-taken; conn != nil { // of one who has not taken it
			_ = conn.Close()
		}
		return nil, errors.Join(ErrNotWanted, os.RemoveAll(gone))
	}
	// Somebody has it, or it was removed.
	if err := listener.SetDeadline(time.Now().Add(patience)); err != nil {
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
	dir := filepath.Join(p.dir, key)
	if _, err := os.Lstat(dir); err != nil {
		return nil
	}
	mine := filepath.Join(p.dir, key+goneInfix+rand.Text())
	if err := os.Rename(dir, mine); err != nil {
		return nil
	}
	defer os.RemoveAll(mine)
	names, err := os.ReadDir(mine)
	if err != nil || len(names) != 1 || !valid(names[0].Name()) {
		return nil
	}
	t := &Taken{ID: names[0].Name()}
	if t.Conn, err = rendezvous.Dial(mine, t.ID); err != nil {
		_ = forget(t.ID) // or it stays; nobody asked for this
		return nil
	}
	pid, same, err := rendezvous.Peer(t.Conn, program)
	if err != nil || !same {
		_ = t.Conn.Close()
		return nil
	}
	t.PID = pid
	return t
}
