package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/vzctl/vzctl/sdk/fault"
)

// place is where on a host things go by default, as data so that tests cover every host.
type place struct {
	os   string
	uid  int
	home string
	env  func(string) string
}

func here() place {
	home, _ := os.UserHomeDir() // its absence is told where it is needed
	return place{os: runtime.GOOS, uid: os.Geteuid(), home: home, env: os.Getenv}
}

// DefaultRoot returns where containers are kept if nobody says otherwise.
func DefaultRoot() (string, error) { return here().root() }

func (p place) root() (string, error) {
	if p.uid == 0 && p.os != "darwin" {
		return "/var/lib/vzctl", nil
	}
	if p.os != "darwin" {
		// The XDG specification ignores relative paths.
		if data := p.env("XDG_DATA_HOME"); filepath.IsAbs(data) {
			return filepath.Join(data, "vzctl"), nil
		}
	}
	if p.home == "" {
		return "", &fault.Error{Reason: fault.FailedPrecondition, Op: "find a place for containers",
			Cause: errors.New("there is no home directory"), Hint: "set HOME or give --root"}
	}
	if p.os == "darwin" {
		return filepath.Join(p.home, "Library", "Application Support", "vzctl"), nil
	}
	return filepath.Join(p.home, ".local", "share", "vzctl"), nil
}

func (p place) run() string {
	switch {
	case p.os == "darwin" && p.home != "":
		return filepath.Join(p.home, ".vzctl", "run")
	case p.os != "darwin" && p.uid == 0:
		return "/run/vzctl"
	case p.os != "darwin" && filepath.IsAbs(p.env("XDG_RUNTIME_DIR")):
		return filepath.Join(p.env("XDG_RUNTIME_DIR"), "vzctl")
	}
	return "/tmp/vzctl-" + strconv.Itoa(p.uid)
}

// MakeRun makes the directory of all runtime directories, or finds it.
func (s *Store) MakeRun() (string, error) { return s.paths.Run, makePrivate(s.paths.Run) }

// MakeSandboxRun makes the runtime directory of a sandbox, or finds it.
func (s *Store) MakeSandboxRun(id string) (string, error) { return s.makeRun(s.paths.SandboxRun(id)) }

// RemoveUnusedRun removes the runtime directory of a sandbox that was never made.
func (s *Store) RemoveUnusedRun(id string) error {
	if !validID(id) {
		return nil
	}
	if _, err := os.Lstat(s.paths.Sandbox(id)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.RemoveAll(s.paths.SandboxRun(id))
}

// MakeNetworkRun makes the runtime directory of a network, or finds it.
func (s *Store) MakeNetworkRun(name string) (string, error) {
	return s.makeRun(s.paths.NetworkRun(name))
}

func (s *Store) makeRun(dir string) (string, error) {
	if err := CheckSocket(filepath.Join(dir, strings.Repeat("s", MaxSocketName))); err != nil {
		return "", err
	}
	for _, d := range []string{s.paths.Run, dir} {
		if err := makePrivate(d); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// makePrivate makes a directory that only the user can enter. One that is there must be such a directory already: in /tmp anyone may have made
// it.
func makePrivate(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return &fault.Error{Reason: reasonOf(err), Op: "make directory", Subject: dir, Cause: bare(err)}
	}
	err := os.Mkdir(dir, 0o700)
	if err != nil && !errors.Is(err, os.ErrExist) {
		return &fault.Error{Reason: reasonOf(err), Op: "make directory", Subject: dir, Cause: bare(err)}
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	refuse := func(cause error, hint string) error {
		return &fault.Error{Reason: fault.PermissionDenied, Op: "use directory", Subject: dir, Cause: cause, Hint: hint}
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return refuse(errors.New("it is not a directory"), "remove it")
	case !ok || int(stat.Uid) != os.Geteuid():
		return refuse(errors.New("it belongs to another user"), "remove it, or choose another place")
	case info.Mode().Perm()&0o077 != 0:
		return refuse(fmt.Errorf("others can enter it (mode %04o)", info.Mode().Perm()), "chmod 700 it")
	}
	return nil
}

// reasonOf an error of the operating system.
func reasonOf(err error) fault.Reason {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.NoSpace
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		return fault.PermissionDenied
	case errors.Is(err, os.ErrNotExist):
		return fault.NotFound
	}
	return fault.Internal
}

// bare takes the call and the path off an error, for messages that name the path themselves.
func bare(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}
