package containerlog

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/core/lock"
)

// Limits of a log. Zero values are the defaults.
type Limits struct {
	// MaxBytes of one file, records and all; at least MinBytes. Unlimited: it is never put aside.
	MaxBytes int64
	// MaxFiles that there are at most, the present one among them; at least 1.
	MaxFiles int
}

// The defaults, the least that may be asked for, and what is no limit.
const (
	DefaultMaxBytes = 20 << 20
	DefaultMaxFiles = 5
	MinBytes        = 4 << 10
	Unlimited       = math.MaxInt64
)

func (l Limits) orDefaults() Limits {
	if l.MaxBytes == 0 {
		l.MaxBytes = DefaultMaxBytes
	}
	if l.MaxFiles == 0 {
		l.MaxFiles = DefaultMaxFiles
	}
	return l
}

// fit makes room for a piece that the present file has none for, and returns what of it may be written now. A log that cannot be put aside goes on being
// written: its bound is less than what a container has to say.
func (w *Writer) fit(piece []byte) []byte {
	if w.size > 0 {
		if err := w.rotate(); err != nil {
			w.unkept = fmt.Errorf("put log %q aside: %w", w.path, err)
			return piece
		}
	}
	return piece[:min(int64(len(piece)), max(w.limits.MaxBytes, MinBytes)-headerSize)]
}

const nextSuffix = ".next" // what is about to become the present file

// rotate puts the present file aside and begins another. Readers find a file at the path at every moment, and those who wait for the lock of the old one can rely on
// the new one being there when they get it.
func (w *Writer) rotate() error {
	next, err := lock.Try(w.path + nextSuffix)
	if err != nil {
		return err
	}
	err = empty(next.File())
	older, listErr := aside(w.path)
	if err = errors.Join(err, listErr); err == nil {
		older, err = w.keep(older)
	}
	if err == nil {
		err = os.Rename(w.path+nextSuffix, w.path)
	}
	if err != nil {
		return errors.Join(err, next.Close())
	}
	old := w.held
	w.held, w.size, w.unkept = next, 0, nil
	if tooMany := len(older) - (w.limits.MaxFiles - 1); tooMany > 0 {
		w.removing.Go(func() { // which takes a while, and the container need not wait
			for _, f := range older[:tooMany] {
				_ = os.Remove(f.path) // what stays is removed the next time
			}
		})
	}
	return old.Close()
}

// empty cuts off what a writer that died may have left. A file that is empty is not touched: ext4 would write it to the disk at once when it is closed, as it does for those who
// overwrite a file, and most logs that are put aside are removed before they are ever written there.
func empty(f *os.File) error {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	return f.Truncate(0)
}

// keep gives the present file its second name, as the newest of those put aside.
func (w *Writer) keep(older []file) ([]file, error) {
	if w.limits.MaxFiles <= 1 {
		return older, nil
	}
	number := uint64(1)
	if len(older) > 0 {
		newest := older[len(older)-1]
		number = newest.number + 1
		if same, err := sameFile(w.held.File(), newest.path); err != nil || same {
			return older, err // a writer before died just then
		}
	}
	kept := file{fmt.Sprintf("%s.%d", w.path, number), number}
	return append(older, kept), os.Link(w.path, kept.path)
}

// file of a log that was put aside.
type file struct {
	path   string
	number uint64
}

// aside lists the files of a log that were put aside, oldest first.
func aside(path string) ([]file, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var found []file
	for _, e := range entries {
		text, ok := strings.CutPrefix(e.Name(), filepath.Base(path)+".")
		if !ok {
			continue
		}
		if number, err := strconv.ParseUint(text, 10, 63); err == nil {
			found = append(found, file{path + "." + text, number})
		}
	}
	slices.SortFunc(found, func(a, b file) int { return cmp.Compare(a.number, b.number) })
	return found, nil
}

// sameFile reports whether path names f. A path that is gone does not.
func sameFile(f *os.File, path string) (bool, error) {
	mine, err := f.Stat()
	if err != nil {
		return false, err
	}
	other, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(mine, other), err
}

// syncAside writes to the disk what was put aside since the last time; the kernel knows what that is.
func syncAside(path string) error {
	older, err := aside(path)
	if err != nil {
		return err
	}
	for _, f := range older {
		opened, err := os.OpenFile(f.path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := errors.Join(opened.Sync(), opened.Close()); err != nil {
			return err
		}
	}
	return nil
}
