package engine

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/core/supervisor"
	"github.com/vzctl/vzctl/sdk/fault"
)

const (
	// maxSockets of a container; a guest takes one more, for the SSH agent.
	maxSockets = 63
	// maxSocketPath is how long a path may be, in bytes: as the kernel's.
	maxSocketPath = 4095
	maxOwner      = 1<<31 - 1
)

// checkSockets refuses what can never be joined; whether it can now is seen at the start.
func (r CreateRequest) checkSockets() error {
	if len(r.Sockets) > maxSockets {
		return &fault.Error{Reason: fault.Invalid, Op: "join sockets", Cause: fmt.Errorf("there are %d of them, at most %d", len(r.Sockets), maxSockets)}
	}
	used := map[string]bool{}
	if r.SSH {
		used[supervisor.SSHSocket] = true
	}
	for _, s := range r.Sockets {
		if err := checkSocket(s, used); err != nil {
			return &fault.Error{Reason: fault.Invalid, Op: "join socket", Subject: s.Host + ":" + s.Container, Cause: err}
		}
	}
	return nil
}

// checkSocket looks at one, with those paths that others use. Two may be joined to one at which somebody listens.
func checkSocket(s store.Socket, used map[string]bool) error {
	made := s.Container
	if s.Publish {
		made = "host " + s.Host
	}
	switch {
	case !utf8.ValidString(s.Host + s.Container):
		return errors.New("it is not text in UTF-8")
	case !filepath.IsAbs(s.Host) || filepath.Clean(s.Host) != s.Host || len(s.Host) > maxSocketPath || strings.ContainsRune(s.Host, 0):
		return errors.New("the host's path is not an absolute one, without dots and doubled slashes")
	case !path.IsAbs(s.Container) || path.Clean(s.Container) != s.Container || s.Container == "/" || len(s.Container) > maxSocketPath || strings.ContainsRune(s.Container, 0):
		return errors.New("the container's path is not an absolute one, without dots and doubled slashes")
	case s.Mode != nil && *s.Mode > 0o777:
		return fmt.Errorf("the mode %#o has more than permissions", *s.Mode)
	case s.UID != nil && *s.UID > maxOwner || s.GID != nil && *s.GID > maxOwner:
		return errors.New("there is no such owner")
	case used[made]:
		return errors.New("the path is used twice")
	}
	used[made] = true
	return nil
}

// environment of the process as far as the request says. What the user gives comes later, and wins.
func (r CreateRequest) environment() []string {
	if !r.SSH {
		return r.Env
	}
	return append([]string{"SSH_AUTH_SOCK=" + supervisor.SSHSocket}, r.Env...)
}
