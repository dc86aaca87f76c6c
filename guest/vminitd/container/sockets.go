package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/sockets"
)

// checkSockets refuses what cannot be the sockets of a container.
func checkSockets(all []sockets.Socket) error {
	if len(all) > sockets.Most {
		return invalid("make sockets", fmt.Errorf("there are %d of them, at most %d", len(all), sockets.Most))
	}
	known := map[string]bool{}
	for _, s := range all {
		if err := checkID("socket", s.ID); err != nil {
			return err
		}
		switch {
		case known[s.ID]:
			return invalid("make sockets", fmt.Errorf("there are two with the id %q", s.ID))
		case !filepath.IsAbs(s.Path) || len(s.Path) >= unix.PathMax || strings.ContainsRune(s.Path, 0):
			return invalid("make sockets", fmt.Errorf("%.80q is not the absolute path of one", s.Path))
		case s.Mode&^os.ModePerm != 0:
			return invalid("make sockets", fmt.Errorf("the permissions of %.80q are %#o", s.Path, uint32(s.Mode)))
		}
		known[s.ID] = true
	}
	return nil
}

// Socket returns a connection to be made to a socket of a container, see package sockets.
func (r *Runtime) Socket(container, socket string) (Stream, error) {
	r.mu.Lock()
	c, err := r.container(container)
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	stream, err := c.sockets.Stream(socket, c.openRoot)
	if err != nil {
		return nil, err
	}
	return stream, nil
}

// openRoot opens the root of the container as its first process sees it, with all that is mounted in it.
func (c *Container) openRoot() (*os.File, error) {
	init, err := c.runningInit()
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open("/proc/"+strconv.Itoa(init.Pid)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	root := os.NewFile(uintptr(fd), "root")
	if _, err := c.runningInit(); err != nil { // and so the number may be another's already
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}
