package vm

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/vmtest/port"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// The transport's tests share one VM, which none of them may break for the others.
func TestVMTransport(t *testing.T) {
	m := newManager(t)
	vm := boot(t, m, specOf(t, "a"))
	t.Run("64 MiB go there and come back, with a half-close", func(t *testing.T) { exchange(t, vm, 64<<20) })
	t.Run("64 connections at once", func(t *testing.T) {
		var group sync.WaitGroup
		for range 64 {
			group.Go(func() { exchange(t, vm, 256<<10) })
		}
		group.Wait()
	})
	t.Run("a port where nobody listens is refused at once", func(t *testing.T) {
		if _, err := tryDial(vm.VsockPath, 9999); err == nil {
			t.Error("connected")
		}
		if got := tell(t, vm, "dial 9999"); !strings.Contains(got, "refused") {
			t.Errorf("the guest's dial gave %q", got)
		}
	})
	t.Run("the guest reaches a socket of the host", func(t *testing.T) {
		listener, err := net.Listen("unix", vm.VsockPath+"_77")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = listener.Close() }()
		go func() {
			conn, err := listener.Accept()
			if err == nil {
				_, _ = conn.Write([]byte("host"))
				_ = conn.Close()
			}
		}()
		if got := tell(t, vm, "dial 77"); got != "host <nil>" {
			t.Errorf("the guest read %q", got)
		}
	})
	t.Run("a guest that does not read stalls nobody else", func(t *testing.T) {
		conn := dial(t, vm, port.Silent)
		_ = conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := conn.Write(make([]byte, 16<<20)); err == nil {
			t.Fatal("16 MiB went to one who does not read")
		}
		exchange(t, vm, 4<<20)
	})
	t.Run("a host that does not read stalls nobody else", func(t *testing.T) {
		conn := dial(t, vm, port.Source)
		_, _ = fmt.Fprintln(conn, 64<<20)
		if _, err := io.ReadFull(conn, make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		exchange(t, vm, 4<<20)
		_ = conn.Close() // resets: the guest is still writing
		exchange(t, vm, 1<<20)
	})
	t.Run("what the guest cannot deliver any more is reset there", func(t *testing.T) {
		for range 300 { // more than the guest may have open at once, if none went away
			conn := dial(t, vm, port.Source)
			_, _ = fmt.Fprintln(conn, 1<<20)
			_, _ = io.ReadFull(conn, make([]byte, 10))
			_ = conn.Close()
		}
		exchange(t, vm, 1<<20)
	})
	t.Run("the plugin's end is lost and taken up again", func(t *testing.T) {
		open := dial(t, vm, port.Silent)
		m.vms["a"].uplink.Drop()
		if _, err := open.Read(make([]byte, 1)); err == nil {
			t.Error("a connection of the lost session goes on")
		}
		exchange(t, vm, 1<<20)
	})
}

// exchange sends size bytes to the echo service, ends its direction and compares what comes back.
func exchange(t *testing.T, vm hypervisor.VM, size int) {
	conn, err := tryDial(vm.VsockPath, port.Echo)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = conn.Close() }()
	sent, received := sha256.New(), sha256.New()
	var writing sync.WaitGroup
	writing.Go(func() {
		block := make([]byte, 100_000)
		for left := size; left > 0; left -= len(block) {
			block = block[:min(len(block), left)]
			block[0], block[len(block)/2] = byte(left), byte(left>>8)
			sent.Write(block)
			if _, err := conn.Write(block); err != nil {
				t.Error(err)
				return
			}
		}
		if err := conn.CloseWrite(); err != nil {
			t.Error(err)
		}
	})
	n, err := io.Copy(received, conn)
	writing.Wait()
	if err != nil || n != int64(size) || string(sent.Sum(nil)) != string(received.Sum(nil)) {
		t.Errorf("of %d bytes %d came back, error %v", size, n, err)
	}
}

// BenchmarkVM measures the way between host and guest, as a user of the vsock path sees it.
func BenchmarkVM(b *testing.B) {
	m := newManager(b)
	vm := boot(b, m, specOf(b, "a"))
	const size = 64 << 20
	b.Run("ToGuest", func(b *testing.B) {
		b.SetBytes(size)
		block := make([]byte, 64<<10)
		for b.Loop() {
			conn := dial(b, vm, port.Sink)
			for left := size; left > 0; left -= len(block) {
				if _, err := conn.Write(block); err != nil {
					b.Fatal(err)
				}
			}
			_ = conn.CloseWrite()
			if answer, err := io.ReadAll(conn); err != nil || string(answer) != fmt.Sprintf("%d <nil>\n", size) {
				b.Fatalf("%q, %v", answer, err)
			}
			_ = conn.Close()
		}
	})
	b.Run("FromGuest", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			conn := dial(b, vm, port.Source)
			_, _ = fmt.Fprintln(conn, size)
			if n, err := io.Copy(io.Discard, conn); err != nil || n != size {
				b.Fatal(n, err)
			}
			_ = conn.Close()
		}
	})
	b.Run("RoundTrip", func(b *testing.B) {
		conn := dial(b, vm, port.Echo)
		block := make([]byte, 64)
		for b.Loop() {
			_, _ = conn.Write(block)
			if _, err := io.ReadFull(conn, block); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Connect", func(b *testing.B) {
		for b.Loop() {
			_ = dial(b, vm, port.Echo).Close()
		}
	})
}
