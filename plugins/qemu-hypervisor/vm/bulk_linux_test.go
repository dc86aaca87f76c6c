package vm

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestASocketThatIsSentMuchKeepsMoreOfIt(t *testing.T) {
	dir := t.TempDir()
	ours, theirs := accepted(t, filepath.Join(dir, "mux"))
	_, other := accepted(t, filepath.Join(dir, "other"))
	before := sendBuffer(t, theirs)

	enlarged := make(chan struct{})
	conn := &bulk{UnixConn: ours, larger: func() {
		defer close(enlarged)
		enlargeSocket(os.Getpid(), filepath.Join(dir, "mux"))
	}}
	go func() {
		_, _ = theirs.Write(make([]byte, 2*inBulk))
		_ = theirs.Close()
	}()
	for part := make([]byte, inBulk/4); conn.larger != nil; {
		if _, err := io.ReadFull(conn, part); err != nil {
			t.Fatalf("all was read, and nobody looked for the socket: %v", err)
		}
	}
	<-enlarged
	if after := sendBuffer(t, theirs); after < before || after == before && before < 2*bulkBuffer && allowed(t) > before/2 {
		t.Errorf("it keeps %d bytes, before %d", after, before)
	}
	if after := sendBuffer(t, other); after != before {
		t.Errorf("another one keeps %d bytes, before %d", after, before)
	}
}

// allowed is what this machine lets a socket ask for, in bytes.
func allowed(t *testing.T) (size int) {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/net/core/wmem_max")
	if err == nil {
		size, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// accepted returns both ends of a connection, the latter is who listened's.
func accepted(t *testing.T, path string) (connected, accepted *net.UnixConn) {
	t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	if connected, err = net.DialUnix("unix", nil, listener.Addr().(*net.UnixAddr)); err != nil {
		t.Fatal(err)
	}
	if accepted, err = listener.AcceptUnix(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = connected.Close(), accepted.Close() })
	return connected, accepted
}

func sendBuffer(t *testing.T, conn *net.UnixConn) (size int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { size, failed = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF) }); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	return size
}
