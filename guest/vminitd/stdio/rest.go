package stdio

import (
	"bytes"
	"errors"

	"golang.org/x/sys/unix"
)

// Rest returns all that is left of outputs, in their order, if of each that is less than bufferSize, nobody can write to it any more, and no connection has had it. They have ended then, and a
// connection that comes is told so: what one has cannot be told as well, and the other way round. Otherwise nothing is lost for those that come, whichever it is that cannot be told.
func Rest(outputs ...*Output) (rests [][]byte, all bool) {
	for _, o := range outputs {
		o.mu.Lock()
		defer o.mu.Unlock()
	}
	for _, o := range outputs {
		if o.had || o.closed {
			return nil, false
		}
	}
	all = true
	for _, o := range outputs {
		rest, ended := o.drain()
		rests, all = append(rests, rest), all && ended
		if !all {
			break
		}
	}
	for i, rest := range rests {
		outputs[i].passed += int64(len(rest))
		if all {
			outputs[i].closed = true
		} else {
			outputs[i].left = append(outputs[i].left, rest...)
		}
	}
	if !all {
		return nil, false
	}
	return rests, true
}

// drain reads what is there, at most bufferSize, and does not wait. It reports whether that was all. The claim is locked.
func (o *Output) drain() (rest []byte, ended bool) {
	raw, err := o.file.SyscallConn()
	if err != nil || len(o.left) > 0 {
		return nil, false
	}
	room := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(room)
	read := 0
	controlErr := raw.Control(func(fd uintptr) {
		for read < bufferSize {
			n, err := unix.Read(int(fd), room[read:])
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil || n <= 0 {
				ended = err == nil
				return
			}
			read += n
		}
	})
	return bytes.Clone(room[:read]), ended && controlErr == nil
}
