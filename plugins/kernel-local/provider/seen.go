package provider

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opencontainers/go-digest"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/kernel"
)

// Hashing a kernel takes longer than everything else here together, so the digest of a file is remembered with what changes when the
// file does. Where there is no cache directory it is computed each time.

// settled is how old a file's last change must be: one may change twice within a tick of the file system's clock.
const settled = 2 * time.Second

// seen is the identity of a file's content, and its digest.
type seen struct {
	Device, Inode    uint64
	Size             int64
	Modified, Status int64 // nanoseconds since the epoch
	SHA256           string
}

// verify fails unless the kernel's file has its SHA-256.
func verify(k kernel.Kernel, cacheDir string) error {
	got, err := digestOf(k.Path, cacheDir)
	if err != nil {
		return &fault.Error{Reason: reasonOf(err), Op: op, Subject: k.Path, Cause: err, Hint: hint}
	}
	if got != k.SHA256 {
		return &fault.Error{
			Reason: fault.DigestMismatch, Op: op, Subject: k.Path, Hint: "run `make kernel`",
			Cause: errors.New("its sha256 is " + got + ", and " + descriptionName + " says " + k.SHA256),
		}
	}
	return nil
}

func digestOf(path, cacheDir string) (sum string, err error) {
	f, _, err := openRegular(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	before, err := identify(f)
	if err != nil {
		return "", err
	}
	note := ""
	if cacheDir != "" {
		note = notePath(path, cacheDir)
		if known, ok := recall(note); ok {
			sum := known.SHA256
			known.SHA256 = ""
			if known == before {
				return sum, nil
			}
		}
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, io.LimitReader(f, before.Size+1)); err != nil {
		return "", err
	}
	after, err := identify(f)
	if err != nil {
		return "", err
	}
	sum = hex.EncodeToString(hash.Sum(nil))
	if note != "" && before == after && time.Since(time.Unix(0, max(after.Modified, after.Status))) > settled {
		after.SHA256 = sum
		// Without the note the next call computes again; nothing else is lost.
		_ = remember(note, after)
	}
	return sum, nil
}

// notePath is where the digest of the kernel at path is remembered.
func notePath(path, cacheDir string) string {
	return filepath.Join(cacheDir, "kernel-"+digest.FromString(path).Encoded()+".json")
}

func identify(f *os.File) (seen, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return seen{}, err
	}
	modified, status := changes(&st)
	return seen{Device: uint64(st.Dev), Inode: st.Ino, Size: st.Size, Modified: modified, Status: status}, nil
}

func recall(path string) (seen, bool) {
	f, _, err := openRegular(path)
	if err != nil {
		return seen{}, false
	}
	defer f.Close() // only read
	var s seen
	err = json.NewDecoder(io.LimitReader(f, 4096)).Decode(&s)
	return s, err == nil && digest.NewDigestFromEncoded(digest.SHA256, s.SHA256).Validate() == nil
}

func remember(path string, s seen) (err error) {
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".kernel-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if _, err := f.Write(raw); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
