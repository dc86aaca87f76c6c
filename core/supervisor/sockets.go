package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/vzctl/vzctl/core/sandbox"
	"github.com/vzctl/vzctl/core/sockets"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk/fault"
)

const (
	// SSHSocket is where a container finds the SSH agent of the host.
	SSHSocket = "/run/host-services/ssh-auth.sock"

	sshVariable   = "SSH_AUTH_SOCK"
	publishedMode = 0o600
	offeredMode   = 0o660
)

// SSHAgent returns the socket of the SSH agent of whoever starts a container. Supervisors inherit the environment of the command that starts them.
func SSHAgent() (string, error) {
	refuse := func(cause error) error {
		return &fault.Error{Reason: fault.FailedPrecondition, Op: "offer the SSH agent to the container", Cause: cause, Hint: "start one with ssh-agent, or create the container without --ssh"}
	}
	path := os.Getenv(sshVariable)
	if path == "" {
		return "", refuse(errors.New(sshVariable + " is not set"))
	}
	if !filepath.IsAbs(path) {
		return "", refuse(fmt.Errorf("%s is %.80q, which is not an absolute path", sshVariable, path))
	}
	return path, nil
}

// joinedSockets are those of a container, with what its record leaves open.
func joinedSockets(c store.Container) (all []sandbox.Socket, err error) {
	for i, s := range c.Sockets {
		socket := sandbox.Socket{Socket: sockets.Socket{ID: "s" + strconv.Itoa(i), Host: s.Host, Publish: s.Publish}, Path: s.Container}
		if s.Publish {
			socket.Mode = fs.FileMode(valueOr(s.Mode, publishedMode))
			socket.UID, socket.GID = number(s.UID), number(s.GID)
		} else {
			socket.ContainerMode = valueOr(s.Mode, offeredMode)
			socket.ContainerUID, socket.ContainerGID = s.UID, s.GID
		}
		all = append(all, socket)
	}
	if !c.SSH {
		return all, nil
	}
	agent, err := SSHAgent()
	if err != nil {
		return nil, err
	}
	return append(all, sandbox.Socket{Socket: sockets.Socket{ID: "ssh", Host: agent}, Path: SSHSocket, ContainerMode: offeredMode}), nil
}

func valueOr(value *uint32, otherwise uint32) uint32 {
	if value == nil {
		return otherwise
	}
	return *value
}

func number(value *uint32) *int {
	if value == nil {
		return nil
	}
	n := int(*value)
	return &n
}
