package template

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Every use of a template looks at what the file system says of its files. What that does not notice, a disk that returns other bytes than it was given, a digest does.

// Verified is what Verify has found.
type Verified struct {
	// Damage says what is wrong; nil if nothing is. A damaged template is gone.
	Damage error
	// Compared says that there was a digest to compare with. Otherwise one was taken, and the template made to outlive the host's uptime.
	Compared bool
}

// Verify reads all of a template, from the disk where the host lets it, and compares it with the digest that was taken once. It waits for whoever makes or
// verifies it. Of a template that is not there: fs.ErrNotExist.
func (s Store) Verify(ctx context.Context, key string) (Verified, error) {
	if !validKey(key) {
		return Verified{}, fs.ErrNotExist
	}
	dir := filepath.Join(s.dir, key)
	if _, err := os.Lstat(dir); err != nil {
		return Verified{}, err
	}
	lock, err := s.await(ctx, key)
	if err != nil {
		return Verified{}, err
	}
	defer func() { _ = lock.Close() }()
	found, err := s.compare(ctx, key)
	if errors.Is(err, ErrDamaged) || errors.Is(err, unix.EIO) {
		return Verified{Damage: err, Compared: found.Compared}, s.discard(dir)
	}
	return found, err
}

// await takes the lock of a key when it is free.
func (s Store) await(ctx context.Context, key string) (*os.File, error) {
	for {
		lock, busy, err := s.lock(key)
		if !busy {
			return lock, err
		}
		if err := s.Await(ctx, key); err != nil {
			return nil, err
		}
	}
}

func (s Store) compare(ctx context.Context, key string) (Verified, error) {
	if err := s.own(); err != nil {
		return Verified{}, err
	}
	made, err := readRecord(filepath.Join(s.dir, key))
	if err != nil {
		return Verified{}, err
	}
	if made.Digest == "" {
		return Verified{}, errors.Join(s.Sync(key), s.Digest(ctx, key))
	}
	sum, err := s.digest(ctx, key, made, true)
	if err == nil && sum != made.Digest {
		err = fmt.Errorf("%w: its content is not what it was", ErrDamaged)
	}
	return Verified{Compared: true}, err
}

// Digest takes the digest of a template, for Verify to compare with later; of one that has a digest, nothing.
func (s Store) Digest(ctx context.Context, key string) error {
	dir := filepath.Join(s.dir, key)
	made, err := readRecord(dir)
	if err != nil || made.Digest != "" {
		return err
	}
	sum, err := s.digest(ctx, key, made, false)
	if err != nil {
		return err
	}
	if made, err = readRecord(dir); err != nil { // Sync may have written it meanwhile
		return err
	}
	made.Digest = sum
	return made.write(dir)
}

// digest of the files that a record names, which are as it says. cold has them read from the disk, as far as the host can be told to.
func (s Store) digest(ctx context.Context, key string, made record, cold bool) (string, error) {
	sum := sha256.New()
	dir := filepath.Join(s.dir, key)
	for _, f := range []struct {
		name string
		was  identity
	}{{memoryFile, made.Memory}, {stateFile, made.State}, {consoleFile, identity{}}} {
		path := filepath.Join(dir, f.name)
		file, info, err := openPrivate(path)
		if err != nil {
			return "", err
		}
		if f.name == consoleFile {
			f.was = identify(info) // the record has none
		}
		if cold {
			forget(file)
		}
		err = addContent(ctx, sum, file)
		if info, statErr := file.Stat(); err == nil && (statErr != nil || identify(info) != f.was) {
			err = fmt.Errorf("%w: %s", ErrDamaged, path) // before, or while it was read
		}
		if err := errors.Join(err, file.Close()); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// digestBlock is what is read at once, in bytes.
const digestBlock = 64 << 10

// addContent adds the file's length and its blocks that are not zero, each with its place. A hole and zeros are the same: most of a memory file is a hole, and
// file systems may turn one into the other.
func addContent(ctx context.Context, sum hash.Hash, file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	number := func(n int64) { sum.Write(binary.BigEndian.AppendUint64(nil, uint64(n))) }
	number(info.Size())
	block, zeros := make([]byte, digestBlock), make([]byte, digestBlock)
	for at := int64(0); at < info.Size(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		if at, err = nextData(file, at); err != nil {
			return err
		}
		n, err := file.ReadAt(block, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n == 0 {
			break
		}
		if !bytes.Equal(block[:n], zeros[:n]) {
			number(at)
			sum.Write(block[:n])
		}
		at += int64(n)
	}
	number(-1) // the end; no block is there
	return nil
}

// nextData returns the beginning of the block of the next data at or after at, which is the beginning of one; the end of the file if there is none.
func nextData(file *os.File, at int64) (int64, error) {
	data, err := unix.Seek(int(file.Fd()), at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		info, err := file.Stat()
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	case err != nil:
		return at, nil // a file system that knows nothing of holes has none
	}
	return data - data%digestBlock, nil
}
