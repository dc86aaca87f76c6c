// Package snapshot keeps the state of a VM in a directory: memory and devices as its hypervisor wrote them, and what the VM must be to go on from there. It knows nothing of
// QEMU, and a state is bytes; package vm takes and restores snapshots. machine.go says when two machines are the same.
//
// What is read back was written whole by the same user, or it is an error. A snapshot holds a guest's memory: only its user may read it.
package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/private"
)

// version of what is written here; a snapshot of another is not restored.
const version = 1

// Files of a directory. The record is written last.
const (
	stateFile  = "state"
	recordFile = "snapshot.json"
)

// maxRecord bounds the record, in bytes.
const maxRecord = 1 << 20

// ErrDamaged says that a snapshot is not as it was written.
var ErrDamaged = errors.New("it is damaged")

// record is snapshot.json.
type record struct {
	Version int
	Made    time.Time
	Machine Machine
	Size    int64  // of the state, in bytes
	Digest  string // of it, SHA-256
}

// Save writes all that from gives, and the machine it is of, into a directory. It is on the disk when Save returns. report is told how much there is so far; after an error, what was
// written is removed.
func Save(dir string, machine Machine, from io.Reader, report func(bytes int64)) (size int64, err error) {
	if err := own(dir); err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, Discard(dir))
		}
	}()
	sum := sha256.New()
	size, err = create(filepath.Join(dir, stateFile), func(file io.Writer) (int64, error) {
		return io.Copy(io.MultiWriter(file, sum, &meter{report: report}), from)
	})
	if err != nil {
		return 0, err
	}
	about, err := json.Marshal(record{Version: version, Made: time.Now(), Machine: machine, Size: size, Digest: hex.EncodeToString(sum.Sum(nil))})
	if err != nil {
		return 0, err
	}
	length, err := create(filepath.Join(dir, recordFile), func(file io.Writer) (int64, error) {
		n, err := file.Write(about)
		return int64(n), err
	})
	if err != nil {
		return 0, err
	}
	return size + length, syncDirectory(dir)
}

// meter counts what passes.
type meter struct {
	bytes  int64
	report func(int64)
}

func (m *meter) Write(p []byte) (int, error) {
	m.bytes += int64(len(p))
	m.report(m.bytes)
	return len(p), nil
}

// create makes a file of its user alone, and syncs it.
func create(path string, write func(io.Writer) (int64, error)) (int64, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return 0, err
	}
	size, err := write(file)
	if err == nil {
		err = file.Sync()
	}
	return size, errors.Join(err, file.Close())
}

func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Discard removes what Save has written, if anything, and leaves the directory.
func Discard(dir string) error {
	return errors.Join(remove(filepath.Join(dir, recordFile)), remove(filepath.Join(dir, stateFile)))
}

func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Open returns the state of a snapshot, for a machine that is the same as the one that was saved: otherwise the error is a *DifferentError. All of it was read and found to be
// as it was written: otherwise the error is ErrDamaged. named is as it was in the machine that was saved. The caller closes the state.
func Open(ctx context.Context, dir string, machine Machine) (state *os.File, named bool, err error) {
	if err := own(dir); err != nil {
		return nil, false, err
	}
	saved, err := readRecord(filepath.Join(dir, recordFile))
	if err != nil {
		return nil, false, err
	}
	if err := saved.Machine.compare(machine); err != nil {
		return nil, false, err
	}
	if state, _, err = private.Open(filepath.Join(dir, stateFile)); err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err := verify(ctx, state, saved); err != nil {
		return nil, false, errors.Join(err, state.Close())
	}
	return state, saved.Machine.NamedMemory, nil
}

func readRecord(path string) (record, error) {
	file, _, err := private.Open(path)
	if err != nil {
		return record{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxRecord))
	var saved record
	if err == nil {
		err = json.Unmarshal(text, &saved)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return record{}, fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	if saved.Version != version {
		return record{}, &DifferentError{What: "the form of the snapshot", Was: fmt.Sprint(saved.Version), Is: fmt.Sprint(version)}
	}
	return saved, nil
}

// verify reads all of the state, and leaves it at its beginning.
func verify(ctx context.Context, state *os.File, saved record) error {
	sum := sha256.New()
	size, err := io.Copy(sum, reader{ctx, state})
	if err != nil {
		return fmt.Errorf("read %s: %w", state.Name(), err)
	}
	if size != saved.Size || hex.EncodeToString(sum.Sum(nil)) != saved.Digest {
		return fmt.Errorf("%w: %s is not what was written", ErrDamaged, state.Name())
	}
	_, err = state.Seek(0, io.SeekStart)
	return err
}

// reader ends with its context.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// own wants a directory of this user alone.
func own(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() || !private.Own(info) {
		return fmt.Errorf("%s is not a directory of this user alone", dir)
	}
	return nil
}
