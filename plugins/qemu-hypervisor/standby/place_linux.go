package standby

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// slots is how many VMs may stand by below one root: each takes as much memory as a VM does.
const slots = 2

// keyLength is that of what template.Key returns.
const keyLength = 32

// turnName is of the file whose lock is held by who claims a slot.
const turnName = "turn"

// socketName is within the directory of a shape.
const socketName = "socket"

// Place is where VMs stand by.
type Place struct{ dir string }

// At returns the place in a directory, which need not be there.
func At(dir string) Place { return Place{dir} }

// Dir is that of one shape: its holder's, which removes it at its end, and ends when it is removed.
func (p Place) Dir(key string) string { return filepath.Join(p.dir, key) }

// failureName is of the file that says what has failed last.
const failureName = "failure.log"

// Note keeps what has failed: who starts a VM goes on without, and has nobody to tell.
func (p Place) Note(err error) {
	_ = os.WriteFile(filepath.Join(p.dir, failureName), []byte(time.Now().Format(time.RFC3339)+" "+err.Error()+"\n"), 0o600) // nobody is left to tell
}

// primingName is of the file that says why a VM could not be primed last.
const primingName = "priming.log"

// NotePriming keeps why a VM of a shape could not be primed, if it still is to be: there are copies all the same.
func (p Place) NotePriming(key string, err error) {
	if _, missing := os.Lstat(p.Dir(key)); missing != nil { // which is why
		return
	}
	_ = os.WriteFile(filepath.Join(p.dir, primingName), []byte(time.Now().Format(time.RFC3339)+" "+err.Error()+"\n"), 0o600) // nobody is left to tell
}

// Priming is the directory of a holder for the time in which it primes a VM.
func (p Place) Priming(key string) string { return filepath.Join(p.dir, "priming-"+key) }

// FailedWithin says whether something has failed in the last time.
func (p Place) FailedWithin(d time.Duration) bool {
	info, err := os.Stat(filepath.Join(p.dir, failureName))
	return err == nil && time.Since(info.ModTime()).Abs() < d
}

// Clear ends all VMs that stand by, soon. Their copies live on.
func (p Place) Clear() error { return removeAll(p.dir) }

// removeAll removes a directory in which holders may write until they have noticed.
func removeAll(dir string) error {
	const tries, pause = 100, 10 * time.Millisecond
	for range tries {
		if err := os.RemoveAll(dir); !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
		time.Sleep(pause) // nobody tells
	}
	return os.RemoveAll(dir)
}

// validKey says whether it may be a key.
func validKey(key string) bool {
	return len(key) == keyLength && strings.Trim(key, "0123456789abcdef") == ""
}

// Slot is the right to have a VM stand by, for as long as the file is open in some process. The key of the shape is written in it.
type Slot = *os.File

// Claim returns the right to hold a VM of a shape; nil if there is one already, or are enough.
func (p Place) Claim(key string) (Slot, error) {
	if !validKey(key) {
		return nil, fmt.Errorf("%q is no key", key)
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, err
	}
	turn, err := os.OpenFile(filepath.Join(p.dir, turnName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = turn.Close() }()                              // which gives the lock back
	if err := unix.Flock(int(turn.Fd()), unix.LOCK_EX); err != nil { // for as long as this takes another
		return nil, os.NewSyscallError("flock", err)
	}
	if p.holds(key) {
		return nil, nil
	}
	p.tidy()
	for i := range slots {
		file, err := os.OpenFile(p.slot(i), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			if err = errors.Join(file.Truncate(0), writeAt(file, key)); err == nil {
				return file, nil
			}
		}
		_ = file.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, err
		}
	}
	return nil, nil
}

// tidy removes what holders have left that were killed while they primed a VM.
func (p Place) tidy() {
	left, _ := filepath.Glob(p.Priming("*")) // the pattern is one
	for _, dir := range left {
		if !p.holds(strings.TrimPrefix(dir, p.Priming(""))) {
			_ = os.RemoveAll(dir) // or the next one does
		}
	}
}

func writeAt(file *os.File, text string) error {
	_, err := file.WriteAt([]byte(text), 0)
	return err
}

// held says whether somebody holds a slot.
func (p Place) held(i int) bool {
	file, err := os.Open(p.slot(i))
	if err != nil {
		return false
	}
	defer func() { _ = file.Close() }()
	return errors.Is(unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

func (p Place) slot(i int) string { return filepath.Join(p.dir, "slot"+strconv.Itoa(i)) }
