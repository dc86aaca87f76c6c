package sockets

import (
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/sdk/plugintest"
)

// FuzzRequest has a guest ask for sockets in any words: it is answered or cut off, and reaches the one that is offered by its id alone.
func FuzzRequest(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x09\x0a\x03web\x12\x02s0")) // the id that is offered
	f.Add([]byte("\x00\x00\x00\x09\x0a\x03web\x12\x02s1"))
	f.Add([]byte("\xff\xff\xff\xff"))
	dir := plugintest.RuntimeDir(f)
	offered := filepath.Join(dir, "offered")
	l, err := net.Listen("unix", offered)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	vsock := filepath.Join(dir, "vsock")
	r, err := Open("web", []Socket{{ID: "s0", Host: offered}}, vsock, hclog.NewNullLogger())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { r.Close() })
	f.Fuzz(func(t *testing.T, said []byte) {
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: vsock + "_1026", Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = conn.Write(said) // it may be cut off meanwhile
		_ = conn.CloseWrite()
		if answer, err := io.ReadAll(conn); err != nil && isTimeout(err) {
			t.Errorf("%q, and then nothing: %v", answer, err)
		}
	})
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}
