package stdio

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// owedMost is how much a process can have written of which nothing was read: what its pipe holds, which was enlarged for small pages and may be full of large ones, and a read under way, in bytes.
const owedMost = 4*bulkSize + bufferSize

// Linger says that the process has ended. Others, such as a service it has started, may have its output open for as long as they live; nobody waits for those. What the process
// itself wrote is passed on, however long the host takes for it; then, after grace without anything more, the stream ends.
func (o *Output) Linger(grace time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.grace = grace
	if o.conn != nil && !o.suspended {
		_ = o.file.SetReadDeadline(time.Now().Add(grace))
	}
}

// beginReading prepares reads for a new connection. The claim is locked.
func (o *Output) beginReading() {
	o.file = pollable(o.file)
	deadline := time.Time{}
	if o.grace > 0 {
		deadline = time.Now().Add(o.grace)
	}
	_ = o.file.SetReadDeadline(deadline)
}

// stopped tells what a read that failed means: the stream has ended, or else whether to read again. Of the claim's holder.
func (o *Output) stopped(err error) (ended, again bool) {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return true, false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.grace == 0 || o.suspended || o.closed {
		return false, false
	}
	if o.owed == 0 {
		o.owed = o.passed + owedMost
	}
	if o.passed >= o.owed || !readable(o.file) {
		return true, false
	}
	_ = o.file.SetReadDeadline(time.Now().Add(o.grace))
	return false, true
}

// readable reports whether a read would not wait. A deadline that has passed fails reads that need not wait, too.
func readable(file *os.File) bool {
	raw, err := file.SyscallConn()
	if err != nil {
		return false
	}
	ready := 0
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		ready, _ = unix.Poll(fds, 0) // an error is as good as nothing to read
	})
	return err == nil && ready > 0
}
