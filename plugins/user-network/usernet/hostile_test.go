package usernet_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/plugins/user-network/usernet"
	"github.com/vzctl/vzctl/plugins/user-network/vmtest"
	"github.com/vzctl/vzctl/sdk/network"
)

// events of a network, in order.
func events(t *testing.T, p *usernet.Plugin) <-chan network.Event {
	t.Helper()
	c := make(chan network.Event, 64)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Watch(ctx, "n", func(e network.Event) { c <- e }) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	// The watch has begun when it tells of something.
	for {
		attach(t, p, network.AttachRequest{EndpointID: "probe"})
		if err := p.Detach(t.Context(), "1", "n", "probe"); err != nil {
			t.Fatal(err)
		}
		select {
		case <-c:
			return c
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// violation waits for the event of a violation whose message holds text.
func violation(t *testing.T, c <-chan network.Event, text string) {
	t.Helper()
	deadline := time.After(soon)
	for {
		select {
		case e := <-c:
			if e.Type == network.Violation && strings.Contains(e.Message, text) {
				return
			}
		case <-deadline:
			t.Fatalf("no violation %q was told", text)
		}
	}
}

func mac(t *testing.T, e network.Endpoint) net.HardwareAddr {
	t.Helper()
	m, err := net.ParseMAC(e.MAC)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func frame(to, from net.HardwareAddr, kind uint16, payload []byte) []byte {
	f := append(append([]byte{}, to...), from...)
	return append(binary.BigEndian.AppendUint16(f, kind), payload...)
}

func udpPacket(from, to netip.Addr, port uint16, payload string) []byte {
	p := make([]byte, 28, 28+len(payload))
	p[0], p[8], p[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(p[2:], uint16(28+len(payload)))
	f, d := from.As4(), to.As4()
	copy(p[12:], f[:])
	copy(p[16:], d[:])
	binary.BigEndian.PutUint16(p[20:], 4000)
	binary.BigEndian.PutUint16(p[22:], port)
	binary.BigEndian.PutUint16(p[24:], uint16(8+len(payload)))
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum+sum>>16))
	return append(p, payload...)
}

// bystander fails the test unless another endpoint is served.
func bystander(t *testing.T, vm *vmtest.VM) {
	t.Helper()
	if err := vm.Ping(within(t, soon), gateway(vm.Endpoint)); err != nil {
		t.Fatalf("another endpoint is harmed: %v", err)
	}
}

func TestFramesThatAPortDoesNotAllowGoNowhereAndAreTold(t *testing.T) {
	broadcast := net.HardwareAddr{255, 255, 255, 255, 255, 255}
	for _, test := range []struct {
		name  string
		frame func(self, other network.Endpoint) []byte
		told  string
	}{
		{"of no byte", func(_, _ network.Endpoint) []byte { return nil }, "shorter"},
		{"of five bytes", func(_, _ network.Endpoint) []byte { return []byte{1, 2, 3, 4, 5} }, "shorter"},
		{"of 64 KiB and more", func(self, other network.Endpoint) []byte {
			return frame(mac(t, other), mac(t, self), 0x0800, make([]byte, 70000))
		}, "longer"},
		{"with another's MAC", func(_, other network.Endpoint) []byte {
			return frame(broadcast, mac(t, other), 0x0806, make([]byte, 28))
		}, "source MAC"},
		{"with another's address", func(self, other network.Endpoint) []byte {
			return frame(mac(t, other), mac(t, self), 0x0800, udpPacket(gateway(self), other.Addresses[0].Addr(), 9, "spoofed"))
		}, "another source address"},
		{"ARP that takes the gateway's address", func(self, _ network.Endpoint) []byte {
			g, m := gateway(self).As4(), mac(t, self)
			arp := append([]byte{0, 1, 8, 0, 6, 4, 0, 2}, m...)
			arp = append(append(append(arp, g[:]...), broadcast...), g[:]...)
			return frame(broadcast, m, 0x0806, arp)
		}, "ARP for another"},
		{"of another protocol", func(self, other network.Endpoint) []byte {
			return frame(mac(t, other), mac(t, self), 0x88cc, make([]byte, 46))
		}, "neither ARP nor IP"},
		{"to a private network", func(self, _ network.Endpoint) []byte {
			return frame(net.HardwareAddr{2, 0x76, 0x7a, 0, 0, 1}, mac(t, self), 0x0800,
				udpPacket(self.Addresses[0].Addr(), netip.MustParseAddr("10.1.2.3"), 53, "leak"))
		}, "not allowed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPlugin(t, network.Config{})
			told := events(t, p)
			hostile, victim := startVM(t, p, "hostile"), startVM(t, p, "victim")
			if err := hostile.Raw(test.frame(hostile.Endpoint, victim.Endpoint)); err != nil {
				t.Fatal(err)
			}
			violation(t, told, test.told)
			bystander(t, victim)
			bystander(t, hostile)
		})
	}
}

func TestAFloodIsBoundedAndHarmsNobodyElse(t *testing.T) {
	p := newPlugin(t, network.Config{Options: map[string]string{usernet.OptionFrames: "1000"}})
	told := events(t, p)
	hostile, victim := startVM(t, p, "hostile"), startVM(t, p, "victim")
	stop, stopped := make(chan struct{}), make(chan struct{})
	flood := frame(mac(t, victim.Endpoint), mac(t, hostile.Endpoint), 0x0800,
		udpPacket(hostile.Address(), victim.Address(), 9, strings.Repeat("x", 64)))
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = hostile.Raw(flood)
			}
		}
	}()
	violation(t, told, "above the rate")
	for range 20 {
		bystander(t, victim)
	}
	close(stop)
	<-stopped
}

func TestAVMThatTakesNothingHarmsNobodyElse(t *testing.T) {
	p := newPlugin(t, network.Config{})
	stuck := attach(t, p, network.AttachRequest{EndpointID: "stuck"})
	// It is there, and never reads.
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: stuck.Link.UnixDatagram.VMPath})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, b := startVM(t, p, "a"), startVM(t, p, "b")
	flood := frame(mac(t, stuck), mac(t, a.Endpoint), 0x0800,
		udpPacket(a.Address(), stuck.Addresses[0].Addr(), 9, strings.Repeat("x", 8000)))
	for range 2000 {
		if err := a.Raw(flood); err != nil {
			t.Fatal(err)
		}
	}
	bystander(t, a)
	bystander(t, b)
}

func TestABrokenOffHandshakeHoldsNothingUp(t *testing.T) {
	server := echoServer(t)
	p := newPlugin(t, network.Config{AllowHostLoopback: true})
	vm := startVM(t, p, "a")
	syn := udpPacket(vm.Address(), hostAlias(vm.Endpoint), server.Port(), strings.Repeat("\x00", 12))
	syn[9] = 6
	syn[32], syn[33] = 0x50, 2
	binary.BigEndian.PutUint16(syn[10:], 0)
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(syn[i:]))
	}
	binary.BigEndian.PutUint16(syn[10:], ^uint16(sum+sum>>16))
	if err := vm.Raw(frame(net.HardwareAddr{2, 0x76, 0x7a, 0, 0, 1}, mac(t, vm.Endpoint), 0x0800, syn)); err != nil {
		t.Fatal(err)
	}
	bystander(t, vm)
	vm.Close()
	ended := make(chan error, 1)
	go func() { ended <- p.Shutdown(context.Background()) }()
	select {
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(soon):
		t.Fatal("the network does not end")
	}
}

func TestTheVMsEndMayRestart(t *testing.T) {
	p := newPlugin(t, network.Config{})
	e := attach(t, p, network.AttachRequest{EndpointID: "a"})
	for range 3 {
		vm := vmtest.Start(t, e)
		if err := vm.Ping(within(t, soon), gateway(e)); err != nil {
			t.Fatal(err)
		}
		vm.Close()
	}
}

// TestMain lets the test binary be a plugin process of its own that is killed: it holds one network and one endpoint until its input ends.
func TestMain(m *testing.M) {
	if dir := os.Getenv("USERNET_TEST_DIR"); dir != "" {
		p := new(usernet.Plugin)
		if _, err := p.Create(context.Background(), "1", network.Config{Name: "n", SubnetV4: "192.168.190.0/24"}); err != nil {
			panic(err)
		}
		for _, id := range []string{"a", "b"} {
			if _, err := p.Attach(context.Background(), network.AttachRequest{Network: "n", EndpointID: id, LinkDir: dir,
				AddressV4: netip.MustParseAddr(replayed[id].address), MAC: replayed[id].mac}); err != nil {
				panic(err)
			}
		}
		os.Stdout.WriteString("ready\n")
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var replayed = map[string]struct{ address, mac string }{
	"a": {"192.168.190.7", "02:00:00:00:00:0a"},
	"b": {"192.168.190.8", "02:00:00:00:00:0b"},
}

func startProcess(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "USERNET_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line := make([]byte, 16)
	if n, err := out.Read(line); err != nil || !bytes.Equal(line[:n], []byte("ready\n")) {
		t.Fatalf("the process says %q: %v", line[:n], err)
	}
	return cmd
}

func TestLinksGoOnAfterThePluginWasKilledAndStartedAgain(t *testing.T) {
	dir := shortDir(t)
	first := startProcess(t, dir)
	// What the replay gives again is what the VMs know.
	vms := map[string]*vmtest.VM{}
	for id, r := range replayed {
		e := describe(t, dir, id, r.address, r.mac)
		vms[id] = vmtest.Start(t, e)
		bystander(t, vms[id])
	}
	l, err := vms["b"].ListenTCP(80)
	if err != nil {
		t.Fatal(err)
	}
	go serveEcho(l)
	c, err := vms["a"].DialTCP(within(t, soon), netip.AddrPortFrom(vms["b"].Address(), 80))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = first.Process.Kill()
	_ = first.Wait()
	startProcess(t, dir)
	bystander(t, vms["a"])
	bystander(t, vms["b"])
	// A connection between the two never noticed.
	exchange(t, c, 1<<20)
}

// describe asks a plugin of this process, in another directory, for the same endpoint.
func describe(t *testing.T, dir, id, address, mac string) network.Endpoint {
	t.Helper()
	p := newPlugin(t, network.Config{SubnetV4: "192.168.190.0/24"})
	other := shortDir(t)
	e := attach(t, p, network.AttachRequest{EndpointID: id, LinkDir: other, AddressV4: netip.MustParseAddr(address), MAC: mac})
	e.Link = network.Link{UnixDatagram: &network.UnixDatagram{
		VMPath:      strings.Replace(e.Link.UnixDatagram.VMPath, other, dir, 1),
		NetworkPath: strings.Replace(e.Link.UnixDatagram.NetworkPath, other, dir, 1)}}
	return e
}
