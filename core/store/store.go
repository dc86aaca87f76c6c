// Package store keeps what is known of containers and sandboxes as files: one JSON record each, replaced whole, readable by its owner only. It
// knows nothing of machines or processes beyond their locks, and decides nothing: what may follow what is in package lifecycle.
//
// Three locks, never taken in another order: a container's (Paths.ContainerLock, held by a verb from begin to end), the store's (held for
// the instant in which a container comes or goes), and a record's (held for the instant of a change). Reading takes none. A supervisor holds
// its sandbox's life lock for life.
//
// Read paths.go first: it names everything on disk.
package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/sdk/bootid"
	"github.com/vzctl/vzctl/sdk/fault"
)

// Store is the directory of all records. Any number of stores in any number of processes may share one.
type Store struct {
	paths  Paths
	bootID string
}

// Open opens the store at root, an absolute path, and makes what is missing. It must belong to the user.
func Open(root string) (*Store, error) {
	return OpenPaths(Paths{Root: root, Run: here().run()})
}

// OpenPaths is Open with another place for runtime directories.
func OpenPaths(paths Paths) (*Store, error) {
	root := filepath.Clean(paths.Root)
	if !filepath.IsAbs(root) {
		return nil, &fault.Error{Reason: fault.Invalid, Op: "open root", Subject: root, Cause: errors.New("not an absolute path")}
	}
	if !utf8.ValidString(root) {
		return nil, &fault.Error{Reason: fault.Invalid, Op: "use root", Subject: root, Cause: errors.New("its name is not text in UTF-8")}
	}
	s := &Store{paths: Paths{Root: root, Run: paths.Run}}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, rootError(root, err)
	}
	for _, dir := range []string{s.paths.Containers(), s.paths.Sandboxes(), s.paths.Networks(), s.paths.Names(), s.paths.Images(),
		s.paths.Rootfs(), s.paths.Kernels(), s.paths.staging()} {
		if err := makePrivate(dir); err != nil {
			return nil, rootError(root, err)
		}
	}
	var err error
	s.bootID, err = bootid.Read()
	return s, err
}

func rootError(root string, err error) error {
	e, ok := errors.AsType[*fault.Error](err)
	if !ok {
		e = &fault.Error{Reason: reasonOf(err), Op: "use root", Subject: root, Cause: bare(err)}
	}
	if e.Reason == fault.PermissionDenied && e.Hint == "" {
		e.Hint = "give another root with --root or VZCTL_ROOT"
	}
	return e
}

// Paths of the store.
func (s *Store) Paths() Paths { return s.paths }

// BootID of the host as it runs now; writers put it into [Container.BootID] together with a state.
func (s *Store) BootID() string { return s.bootID }

// LockContainer waits for the container's lock, which a verb holds from begin to end. It fails with fault.NotFound if the container is gone.
func (s *Store) LockContainer(ctx context.Context, id string) (*lock.Lock, error) {
	if !validID(id) {
		return nil, notFound(id)
	}
	l, err := lock.Acquire(ctx, s.paths.ContainerLock(id))
	if errors.Is(err, os.ErrNotExist) {
		return nil, notFound(id)
	}
	return l, err
}

// TryLockContainer is LockContainer, but if another holds the lock it fails with lock.ErrHeld at once.
func (s *Store) TryLockContainer(id string) (*lock.Lock, error) {
	if !validID(id) {
		return nil, notFound(id)
	}
	l, err := lock.Try(s.paths.ContainerLock(id))
	if errors.Is(err, os.ErrNotExist) {
		return nil, notFound(id)
	}
	return l, err
}

// NewID returns a random id.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// No regular expressions here, and not in what else all processes of a start have: each of them would compile them.
func validID(id string) bool { return len(id) == 32 && strings.Trim(id, "0123456789abcdef") == "" }

// MaxName is how long a name may be, in bytes.
const MaxName = 64

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// CheckName refuses what cannot be the name of a container or network.
func CheckName(name string) error {
	var cause error
	switch {
	case name == "":
		cause = errors.New("it is empty")
	case len(name) > MaxName:
		cause = errors.New("it has " + strconv.Itoa(len(name)) + " characters, " + strconv.Itoa(MaxName) + " are allowed")
		name = name[:MaxName] + "..."
	case strings.Trim(name, letters+"_.-") != "" || strings.ContainsRune("_.-", rune(name[0])):
		cause = errors.New("only letters, digits, '_', '.' and '-' are allowed, the first a letter or digit")
	default:
		return nil
	}
	return &fault.Error{Reason: fault.Invalid, Op: "use name", Subject: name, Cause: cause}
}

func notFound(ref string) error {
	return &fault.Error{Reason: fault.NotFound, Op: "find container", Subject: ref, Cause: errors.New("there is no such container"),
		Hint: "vzctl ls -a shows all"}
}
