package guest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/vzctl/vzctl/core/agent"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/accel"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/vm"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/network"
)

// wire is the network's end of a link, and says who may speak on it.
type wire struct {
	conn    *net.UnixConn
	mac     net.HardwareAddr
	address netip.Addr
	early   [][]byte // what came before the machine was told who it is
}

func listen(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// frames returns all that has come, and comes until there is silence.
func (w wire) frames(t *testing.T, silence time.Duration) (all [][]byte) {
	t.Helper()
	for {
		frame := make([]byte, 65536)
		_ = w.conn.SetReadDeadline(time.Now().Add(silence))
		n, err := w.conn.Read(frame)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, frame[:n])
	}
}

// ownSource says whether the frame's sender is the machine that has the link, by all addresses that the frame has of it.
func (w wire) ownSource(frame []byte) bool {
	if len(frame) < 14 || !bytes.Equal(frame[6:12], w.mac) {
		return false
	}
	body := frame[14:]
	own := func(ip []byte, others ...netip.Addr) bool {
		a, ok := netip.AddrFromSlice(ip)
		for _, other := range others {
			ok = ok && a != other
		}
		return ok && (a == w.address || a.IsUnspecified()) || a == w.linkLocal()
	}
	switch protocol := uint16(frame[12])<<8 | uint16(frame[13]); {
	case protocol == 0x0800 && len(body) >= 20:
		return own(body[12:16])
	case protocol == 0x0806 && len(body) >= 28: // ARP
		return bytes.Equal(body[8:14], w.mac) && own(body[14:18])
	case protocol == 0x86dd && len(body) >= 40:
		const neighbourSolicitation = 135
		if len(body) >= 64 && body[6] == 58 && body[40] == neighbourSolicitation && netip.AddrFrom16([16]byte(body[8:24])).IsUnspecified() {
			return own(body[48:64]) // the address that it asks about before taking it
		}
		return own(body[8:24])
	}
	return false
}

// announces says whether the frame tells everybody the MAC of the machine's address: an ARP request for itself.
func (w wire) announces(frame []byte) bool {
	const body = 14
	return len(frame) >= body+28 && frame[12] == 0x08 && frame[13] == 0x06 && bytes.Equal(frame[:6], []byte{255, 255, 255, 255, 255, 255}) &&
		bytes.Equal(frame[body+14:body+18], w.address.AsSlice()) && bytes.Equal(frame[body+24:body+28], w.address.AsSlice())
}

// linkLocal is the IPv6 address that the kernel makes of the MAC.
func (w wire) linkLocal() netip.Addr {
	m := w.mac
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

// TestVMCloneSaysNothingInAnotherName reads all that the links of two clones carry, from before QEMU starts until both have been silent for a while.
func TestVMCloneSaysNothingInAnotherName(t *testing.T) {
	m := vm.New(accel.Host{OS: "linux", Arch: "amd64"}, 0, hclog.NewNullLogger())
	t.Cleanup(func() { _ = m.Shutdown(context.Background()) })
	cache := t.TempDir()
	var wires []wire
	for i, id := range []string{"a", "b"} {
		dir, err := os.MkdirTemp("", "vz") // short enough for sockets
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		w := wire{conn: listen(t, filepath.Join(dir, "net")), mac: net.HardwareAddr{2, 0, 0, 7, 7, byte(i + 1)}, address: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 10)})}
		template := wire{conn: listen(t, filepath.Join(dir, "T0"))} // where the link of a template that is made would go
		_, err = m.Create(t.Context(), "test", hypervisor.Spec{
			ID: id, Arch: "amd64", CPUs: 1, MemoryBytes: 256 << 20, InitrdPath: Initrd(t), RuntimeDir: dir, CacheDir: cache,
			Kernel:      hypervisor.Kernel{Path: kernel(t), Format: "elf-pvh", CommandLine: "quiet reboot=t panic=-1 no_timer_check noreplace-smp dummy.numdummies=0"},
			ConsolePath: filepath.Join(dir, "console"),
			NICs: []hypervisor.NIC{{ID: "eth0", MAC: w.mac.String(), MTU: 1500, Link: network.Link{
				UnixDatagram: &network.UnixDatagram{VMPath: filepath.Join(dir, "vm"), NetworkPath: filepath.Join(dir, "net")}}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), bootPatience)
		defer cancel()
		started, err := m.Start(ctx, id)
		if err != nil || !started.Cloned {
			t.Fatalf("cloned: %v, %v", started.Cloned, err)
		}
		guest, err := agent.Dial(ctx, started.VsockPath, "test")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = guest.Close() })
		if w.early = w.frames(t, 100*time.Millisecond); len(w.early) > 0 {
			t.Errorf("clone %s has sent %x before it had an address", id, w.early)
		}
		entropy := make([]byte, 64)
		_, _ = rand.Read(entropy) // never fails
		_, err = guest.Adopt(ctx, &guestv1.AdoptRequest{Entropy: entropy, Time: timestamppb.Now(), Hostname: id, Interfaces: []*guestv1.Interface{{
			Mac: w.mac.String(), Addresses: []string{w.address.String() + "/24"}, Routes: []*guestv1.Route{{Destination: "0.0.0.0/0", Gateway: "192.0.2.1"}}}}})
		if err != nil {
			t.Fatal(err)
		}
		if frames := template.frames(t, 10*time.Millisecond); len(frames) > 0 {
			t.Errorf("the machine that is the template sent %x", frames)
		}
		wires = append(wires, w)
	}
	for i, w := range wires {
		later := w.frames(t, 2*time.Second)
		if len(later) == 0 {
			t.Errorf("clone %d is not on the wire", i)
		}
		announced := false
		for _, frame := range append(w.early, later...) {
			if !w.ownSource(frame) {
				t.Errorf("clone %d, of %s and %s, sent %x", i, w.mac, w.address, frame)
			}
			announced = announced || w.announces(frame)
		}
		if !announced {
			t.Errorf("clone %d has not told others by which MAC they reach %s, which another may have had before", i, w.address)
		}
	}
}
