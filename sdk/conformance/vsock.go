package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

// errRefused: the hybrid vsock closed the connection without OK.
var errRefused = errors.New("the connection was closed without OK")

// connect opens a stream to a guest's port by the hybrid vsock convention.
func connect(ctx context.Context, path string, port int) (*net.UnixConn, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	c := raw.(*net.UnixConn)
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	line, err := "", error(nil)
	if _, err = fmt.Fprintf(c, "CONNECT %d\n", port); err == nil {
		line, err = readLine(c)
	}
	if !stop() || ctx.Err() != nil {
		c.Close()
		return nil, context.Cause(ctx)
	}
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
		err = errRefused
	case err == nil && !strings.HasPrefix(line, "OK "):
		err = fmt.Errorf("the answer to CONNECT is %q, not \"OK <n>\"", line)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// readLine reads byte by byte, for what follows belongs to the stream.
func readLine(r io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); len(line) < 64; line = append(line, b[0]) {
		if _, err := io.ReadFull(r, b); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return string(line), nil
		}
	}
	return "", fmt.Errorf("the answer has no end: %q", line)
}

// garbage sends what is no CONNECT and wants the connection closed.
func garbage(ctx context.Context, path, text string) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, text)
	answer, err := io.ReadAll(io.LimitReader(c, 1024))
	switch {
	case bytes.HasPrefix(answer, []byte("OK")):
		return fmt.Errorf("%.20q was answered with %q", text, answer)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%.20q did not close the connection", text)
	}
	return nil
}

// hello dials the agent and exchanges versions.
func hello(ctx context.Context, path string) error {
	conn, err := grpc.NewClient("passthrough:guest",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return connect(ctx, path, agentPort) }))
	if err != nil {
		return err
	}
	defer conn.Close()
	r, err := guestv1.NewAgentClient(conn).Hello(ctx, &guestv1.HelloRequest{Version: "conformance", ProtocolMin: 1, ProtocolMax: 1}, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("the agent does not answer: %w", err)
	}
	if r.GetProtocolMax() == 0 {
		return errors.New("the agent gave no protocol version")
	}
	return nil
}

// processRuns reports whether a process is there and no zombie.
func processRuns(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || !bytes.Contains(stat, []byte(") Z "))
}
