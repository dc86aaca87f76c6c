package command

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
	"github.com/vzctl/vzctl/core/store"
)

// socketFlags are those of run and create that join unix sockets.
func socketFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "publish-socket", Usage: "`HOST:CONTAINER[:OPTION,...]`: paths of a unix socket of the host, which is made, and of one at which a process of the container " +
			"listens; options are mode=0600, uid=0 and gid=0 of the host's; may be repeated"},
		&cli.StringSliceFlag{Name: "socket", Usage: "`HOST:CONTAINER[:OPTION,...]`: paths of a unix socket of the host at which somebody listens, and of one of the container, which is made; " +
			"options are mode=0660, uid=0 and gid=0 of the container's; may be repeated"},
		&cli.BoolFlag{Name: "ssh", Usage: "offer the container the SSH agent of whoever starts it"},
	}
}

// readSockets reads socketFlags.
func readSockets(c *cli.Context, request *engine.CreateRequest) error {
	request.SSH = c.Bool("ssh")
	for _, flag := range []string{"publish-socket", "socket"} {
		for _, text := range c.StringSlice(flag) {
			socket, err := parseSocket(text)
			if err != nil {
				return usage("--%s %q: %w", flag, text, err)
			}
			socket.Publish = flag == "publish-socket"
			request.Sockets = append(request.Sockets, socket)
		}
	}
	return nil
}

// parseSocket reads HOST:CONTAINER[:OPTION,...]. A relative path of the host is made absolute, as the supervisor has another working directory.
func parseSocket(text string) (s store.Socket, err error) {
	host, rest, _ := strings.Cut(text, ":")
	container, options, given := strings.Cut(rest, ":")
	if host == "" || container == "" {
		return s, errors.New("write HOST:CONTAINER or HOST:CONTAINER:OPTION,OPTION")
	}
	if s.Host, err = filepath.Abs(host); err != nil {
		return s, err
	}
	s.Container = container
	if !given {
		return s, nil
	}
	for option := range strings.SplitSeq(options, ",") {
		name, value, _ := strings.Cut(option, "=")
		into, known := map[string]**uint32{"mode": &s.Mode, "uid": &s.UID, "gid": &s.GID}[name]
		if !known {
			return s, fmt.Errorf("option %q: there are mode, uid and gid", option)
		}
		base := 10
		if name == "mode" {
			base = 8
		}
		n, err := strconv.ParseUint(value, base, 32)
		if err != nil {
			return s, fmt.Errorf("option %q: use a number", option)
		}
		number := uint32(n)
		*into = &number
	}
	return s, nil
}
