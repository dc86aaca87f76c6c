package vsock

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/vzctl/vzctl/guest/serialmux"
)

// ErrEnded is what Dial gives when the VM has ended.
var ErrEnded = errors.New("the VM has ended")

// reconnectPause is between two sessions with the same VM: the guest has to notice that the first is over. See hello.go of package serialmux.
const reconnectPause = 50 * time.Millisecond

// Uplink is the way to the guest of one VM: none at first, then one session after another.
type Uplink struct {
	mu      sync.Mutex
	session *serialmux.Session // nil while there is none
	ended   bool
	reached bool          // since Run began, there was a session
	changed chan struct{} // closed at the next change
}

// NewUplink returns an uplink of a VM that does not run yet.
func NewUplink() *Uplink { return &Uplink{changed: make(chan struct{})} }

// Run keeps a session with the guest until ctx ends, and after that lets Dial fail until the next Run. connect opens the host's end of the serial
// port; incoming is called for each connection of the guest.
func (u *Uplink) Run(ctx context.Context, connect func(context.Context) (io.ReadWriteCloser, error), incoming func(*serialmux.Request)) {
	u.mu.Lock()
	u.reached = false
	u.mu.Unlock()
	u.set(nil, false)
	defer u.set(nil, true)
	for ctx.Err() == nil {
		u.runOne(ctx, connect, incoming)
		timer := time.NewTimer(reconnectPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

func (u *Uplink) runOne(ctx context.Context, connect func(context.Context) (io.ReadWriteCloser, error), incoming func(*serialmux.Request)) {
	pipe, err := connect(ctx)
	if err != nil {
		return
	}
	session, err := serialmux.Host(ctx, pipe, incoming)
	if err != nil {
		return
	}
	u.set(session, false)
	select {
	case <-session.Done():
	case <-ctx.Done():
	}
	u.set(nil, false)
	_ = session.Close()
}

func (u *Uplink) set(session *serialmux.Session, ended bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.session, u.ended, u.reached = session, ended, u.reached || session != nil
	close(u.changed)
	u.changed = make(chan struct{})
}

// Reached says whether the guest has been there since the latest Run began.
func (u *Uplink) Reached() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.reached
}

// Dial connects to a port of the guest. Before there is a guest, or between two sessions with it, it waits.
func (u *Uplink) Dial(ctx context.Context, port uint32) (*serialmux.Conn, error) {
	for {
		u.mu.Lock()
		session, ended, changed := u.session, u.ended, u.changed
		u.mu.Unlock()
		switch {
		case ended:
			return nil, ErrEnded
		case session != nil:
			conn, err := session.Dial(ctx, port)
			if !errors.Is(err, serialmux.ErrSessionLost) {
				return conn, err
			}
			// Run has yet to notice; then there is another session, or the end.
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Drop ends the present session, if there is one; a new one follows.
func (u *Uplink) Drop() {
	u.mu.Lock()
	session := u.session
	u.mu.Unlock()
	if session != nil {
		_ = session.Close()
	}
}
