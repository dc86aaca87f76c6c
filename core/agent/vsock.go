package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/vzctl/vzctl/sdk/fault"
)

// DialPort connects to a port of the guest through the hybrid vsock socket at path. Before the guest listens it waits, until ctx ends. The connection
// is a *net.UnixConn, so that both directions can be half-closed and bytes need not pass through this process's memory.
func DialPort(ctx context.Context, path string, port uint32) (net.Conn, error) {
	failed := func(cause error) error {
		if ctx.Err() != nil {
			cause = fmt.Errorf("the guest did not answer: %w", context.Cause(ctx))
		}
		return &fault.Error{Reason: fault.Unavailable, Op: "connect to the guest's port", Subject: strconv.FormatUint(uint64(port), 10), Cause: cause}
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, failed(err)
	}
	// A deadline in the past ends the handshake when ctx does.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	if err := handshake(conn, port); err != nil {
		stop()
		return nil, errors.Join(failed(err), conn.Close())
	}
	if !stop() {
		return nil, errors.Join(failed(ctx.Err()), conn.Close())
	}
	return conn, nil
}

// handshake asks for the port. The answer is read byte by byte: what follows it belongs to the stream.
func handshake(conn io.ReadWriter, port uint32) error {
	if _, err := fmt.Fprintf(conn, "CONNECT %d\n", port); err != nil {
		return err
	}
	const longest = len("OK 4294967295\n")
	line := make([]byte, 0, longest)
	for len(line) < longest {
		var b [1]byte
		if _, err := io.ReadFull(conn, b[:]); err != nil {
			if errors.Is(err, io.EOF) && len(line) == 0 {
				return errors.New("connection refused")
			}
			return err
		}
		if b[0] == '\n' {
			if number, ok := strings.CutPrefix(string(line), "OK "); ok {
				if _, err := strconv.ParseUint(number, 10, 32); err == nil {
					return nil
				}
			}
			break
		}
		line = append(line, b[0])
	}
	return fmt.Errorf("unexpected answer %q", line)
}
