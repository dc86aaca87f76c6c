package vm

import (
	"bytes"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/network"
)

func TestVMSendsFramesToItsLinksAndNumbersCardsInOrder(t *testing.T) {
	m := newManager(t)
	spec := specOf(t, "a")
	macs := []string{"02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:0c"}
	var first net.PacketConn
	for i, mac := range macs {
		end := &network.UnixDatagram{
			VMPath: filepath.Join(spec.RuntimeDir, "vm"+mac[15:]), NetworkPath: filepath.Join(spec.RuntimeDir, "net"+mac[15:])}
		conn, err := net.ListenPacket("unixgram", end.NetworkPath)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if i == 0 {
			first = conn
		}
		spec.NICs = append(spec.NICs, hypervisor.NIC{ID: mac, MAC: mac, MTU: 1500, Link: network.Link{UnixDatagram: end}})
	}
	vm := boot(t, m, spec)
	got := tell(t, vm, "links")
	for i, mac := range macs {
		if !strings.Contains(got, "eth"+string(rune('0'+i))+" "+mac) {
			t.Errorf("cards are %q; want %s as eth%d", got, mac, i)
		}
	}
	if answer := tell(t, vm, "up eth0"); answer != "up" { // the kernel then looks for IPv6 neighbours
		t.Fatal(answer)
	}
	_ = first.SetReadDeadline(time.Now().Add(bootDeadline))
	frame := make([]byte, 2048)
	n, _, err := first.ReadFrom(frame)
	source, _ := net.ParseMAC(macs[0])
	if err != nil || n < 14 || !bytes.Equal(frame[6:12], source) {
		t.Errorf("the network's end read a frame of %d bytes from %x, %v", n, frame[6:12], err)
	}
}
