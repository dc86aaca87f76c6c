package usernet_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/vzctl/vzctl/plugins/user-network/usernet"
	"github.com/vzctl/vzctl/plugins/user-network/vmtest"
	"github.com/vzctl/vzctl/sdk/network"
)

// soon is the deadline of what must happen.
const soon = 20 * time.Second

// shortDir is a directory whose sockets have short paths.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "un")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func newPlugin(t testing.TB, config network.Config) *usernet.Plugin {
	t.Helper()
	p := new(usernet.Plugin)
	t.Cleanup(func() {
		if err := p.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	config.Name = "n"
	if _, err := p.Create(t.Context(), "1", config); err != nil {
		t.Fatal(err)
	}
	return p
}

func attach(t testing.TB, p *usernet.Plugin, r network.AttachRequest) network.Endpoint {
	t.Helper()
	r.Network = "n"
	if r.LinkDir == "" {
		r.LinkDir = shortDir(t)
	}
	e, err := p.Attach(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func startVM(t testing.TB, p *usernet.Plugin, id string) *vmtest.VM {
	t.Helper()
	return vmtest.Start(t, attach(t, p, network.AttachRequest{EndpointID: id}))
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// echoServer sends back what it gets, on the host's loopback. It answers the end of input with the end of output.
func echoServer(t testing.TB) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go serveEcho(l)
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func serveEcho(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c)
			if w, ok := c.(interface{ CloseWrite() error }); ok {
				_ = w.CloseWrite()
			}
		}()
	}
}

func hostAlias(e network.Endpoint) netip.Addr {
	a := e.Addresses[0].Masked().Addr().As4()
	a[3] = 254
	return netip.AddrFrom4(a)
}

func gateway(e network.Endpoint) netip.Addr {
	return e.Addresses[0].Masked().Addr().Next()
}

// exchange sends n random bytes there and back and compares.
func exchange(t testing.TB, c net.Conn, n int) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(soon))
	sent := make([]byte, n)
	_, _ = rand.Read(sent)
	go func() {
		_, _ = c.Write(sent)
		_ = c.(interface{ CloseWrite() error }).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || sha256.Sum256(got) != sha256.Sum256(sent) {
		t.Fatalf("got %d bytes of %d back, equal %t: %v", len(got), n, bytes.Equal(got, sent), err)
	}
}

func TestTheGatewayAnswersPing(t *testing.T) {
	vm := startVM(t, newPlugin(t, network.Config{}), "a")
	if err := vm.Ping(within(t, soon), gateway(vm.Endpoint)); err != nil {
		t.Fatal(err)
	}
}

func TestNobodyElseOutsideIsPretendedToAnswerPing(t *testing.T) {
	vm := startVM(t, newPlugin(t, network.Config{}), "a")
	if err := vm.Ping(within(t, soon), gateway(vm.Endpoint)); err != nil {
		t.Fatal(err)
	}
	if err := vm.Ping(within(t, 300*time.Millisecond), netip.MustParseAddr("192.0.2.77")); err == nil {
		t.Fatal("an address that nobody asked answered")
	}
}

func TestTCPReachesTheHostsLoopbackWhenAllowed(t *testing.T) {
	server := echoServer(t)
	vm := startVM(t, newPlugin(t, network.Config{AllowHostLoopback: true}), "a")
	c, err := vm.DialTCP(within(t, soon), netip.AddrPortFrom(hostAlias(vm.Endpoint), server.Port()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	exchange(t, c, 8<<20)
}

func TestTCPIsRefusedAtOnce(t *testing.T) {
	server := echoServer(t)
	own := "10.1.2.3"
	for _, test := range []struct {
		name   string
		config network.Config
		to     func(network.Endpoint) netip.Addr
	}{
		{"to the host's loopback unless allowed", network.Config{}, hostAlias},
		{"to the host's loopback when only the LAN is allowed", network.Config{AllowLAN: true}, hostAlias},
		{"to a private network unless allowed", network.Config{}, func(network.Endpoint) netip.Addr { return netip.MustParseAddr(own) }},
		{"to link-local addresses unless allowed", network.Config{}, func(network.Endpoint) netip.Addr { return netip.MustParseAddr("169.254.169.254") }},
		{"to the host's own addresses unless allowed", network.Config{}, func(network.Endpoint) netip.Addr { return hostAddress(t) }},
		{"to the gateway itself", network.Config{AllowHostLoopback: true, AllowLAN: true}, gateway},
		{"to where nobody listens", network.Config{AllowHostLoopback: true}, func(e network.Endpoint) netip.Addr { server = unusedPort(t); return hostAlias(e) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			vm := startVM(t, newPlugin(t, test.config), "a")
			c, err := vm.DialTCP(within(t, soon), netip.AddrPortFrom(test.to(vm.Endpoint), server.Port()))
			if err == nil {
				c.Close()
				t.Fatal("connected")
			}
			if !strings.Contains(err.Error(), "refused") {
				t.Fatalf("not refused: %v", err)
			}
		})
	}
}

func hostAddress(t *testing.T) netip.Addr {
	t.Helper()
	list, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() {
			return p.Addr()
		}
	}
	t.Skip("needs a host with an IPv4 address beside loopback")
	return netip.Addr{}
}

func unusedPort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func TestTheHostsOwnAddressIsReachedWithLAN(t *testing.T) {
	l, err := net.Listen("tcp4", net.JoinHostPort(hostAddress(t).String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go serveEcho(l)
	vm := startVM(t, newPlugin(t, network.Config{AllowLAN: true}), "a")
	c, err := vm.DialTCP(within(t, soon), l.Addr().(*net.TCPAddr).AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	exchange(t, c, 1<<10)
}

func TestUDPGoesBothWays(t *testing.T) {
	host, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := host.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = host.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	vm := startVM(t, newPlugin(t, network.Config{AllowHostLoopback: true}), "a")
	c, err := vm.DialUDP(netip.AddrPortFrom(hostAlias(vm.Endpoint), host.LocalAddr().(*net.UDPAddr).AddrPort().Port()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, size := range []int{1, 1400, 40000} {
		_ = c.SetDeadline(time.Now().Add(soon))
		sent := bytes.Repeat([]byte{byte(size)}, size)
		if _, err := c.Write(sent); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 1<<16)
		if n, err := c.Read(got); err != nil || !bytes.Equal(got[:n], sent) {
			t.Fatalf("of %d bytes came back %d: %v", size, n, err)
		}
	}
}

// fakeResolver is a DNS server on loopback that answers every name with 198.51.100.7.
func fakeResolver(t *testing.T) string {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil {
				continue
			}
			m.Response = true
			m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET},
				Body: &dnsmessage.AResource{A: [4]byte{198, 51, 100, 7}}}}
			answer, _ := m.Pack()
			_, _ = c.WriteToUDPAddrPort(answer, from)
		}
	}()
	return c.LocalAddr().String()
}

func query(t *testing.T, c net.Conn, name string, overTCP bool) dnsmessage.Message {
	t.Helper()
	return ask(t, c, name, dnsmessage.TypeA, overTCP)
}

func ask(t *testing.T, c net.Conn, name string, kind dnsmessage.Type, overTCP bool) dnsmessage.Message {
	t.Helper()
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 77, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}}}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if overTCP {
		b = append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
	}
	_ = c.SetDeadline(time.Now().Add(soon))
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	b = make([]byte, 4096)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	b = b[:n]
	if overTCP {
		b = b[2:]
	}
	if err := m.Unpack(b); err != nil {
		t.Fatal(err)
	}
	if m.ID != 77 || !m.Response {
		t.Fatalf("not a response to the query: %+v", m.Header)
	}
	return m
}

func TestNamesAreResolvedByTheGateway(t *testing.T) {
	upstream := fakeResolver(t)
	allowed := newPlugin(t, network.Config{AllowHostLoopback: true, Options: map[string]string{usernet.OptionDNSServers: upstream}})
	forbidden := newPlugin(t, network.Config{Options: map[string]string{usernet.OptionDNSServers: upstream}})
	for i, test := range []struct {
		name, ask string
		plugin    *usernet.Plugin
		want      func(network.Endpoint) netip.Addr
		code      dnsmessage.RCode
	}{
		{name: "of the world through a resolver on the host's loopback", ask: "example.com.", plugin: forbidden,
			want: func(network.Endpoint) netip.Addr { return netip.MustParseAddr("198.51.100.7") }},
		{name: "of the host when its loopback may be reached", ask: "host.vzctl.internal.", plugin: allowed, want: hostAlias},
		{name: "in any case of letters", ask: "Host.VZCTL.internal.", plugin: allowed, want: hostAlias},
		{name: "of the host not otherwise", ask: "host.vzctl.internal.", plugin: forbidden, code: dnsmessage.RCodeNameError},
		{name: "of the gateway", ask: "gateway.vzctl.internal.", plugin: forbidden, want: gateway},
		{name: "of the zone are not asked elsewhere", ask: "other.vzctl.internal.", plugin: forbidden, code: dnsmessage.RCodeNameError},
	} {
		t.Run(test.name, func(t *testing.T) {
			vm := startVM(t, test.plugin, "e"+strconv.Itoa(i))
			if got := vm.Endpoint.DNS.Servers; len(got) != 1 || got[0] != gateway(vm.Endpoint) {
				t.Fatalf("the endpoint is told to ask %v", got)
			}
			c, err := vm.DialUDP(netip.AddrPortFrom(gateway(vm.Endpoint), 53))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			m := query(t, c, test.ask, false)
			if m.RCode != test.code {
				t.Fatalf("response code %s, want %s", m.RCode, test.code)
			}
			if test.want == nil {
				return
			}
			if len(m.Answers) != 1 || netip.AddrFrom4(m.Answers[0].Body.(*dnsmessage.AResource).A) != test.want(vm.Endpoint) {
				t.Fatalf("answers %v, want %s", m.Answers, test.want(vm.Endpoint))
			}
		})
	}
}

func TestNamesAreResolvedOverTCP(t *testing.T) {
	vm := startVM(t, newPlugin(t, network.Config{AllowHostLoopback: true}), "a")
	c, err := vm.DialTCP(within(t, soon), netip.AddrPortFrom(gateway(vm.Endpoint), 53))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 {
		if m := query(t, c, "host.vzctl.internal.", true); len(m.Answers) != 1 {
			t.Fatalf("%+v", m)
		}
	}
}

func TestEndpointsOfANetworkReachEachOther(t *testing.T) {
	for _, internal := range []bool{false, true} {
		p := newPlugin(t, network.Config{Internal: internal})
		a, b := startVM(t, p, "a"), startVM(t, p, "b")
		l, err := b.ListenTCP(80)
		if err != nil {
			t.Fatal(err)
		}
		go serveEcho(l)
		c, err := a.DialTCP(within(t, soon), netip.AddrPortFrom(b.Address(), 80))
		if err != nil {
			t.Fatal(err)
		}
		exchange(t, c, 1<<20)
		c.Close()
		l.Close()
		if internal && len(a.Endpoint.Routes)+len(a.Endpoint.DNS.Servers) != 0 {
			t.Fatalf("an internal network names a way out: %+v", a.Endpoint)
		}
	}
}

func TestNetworksAreApart(t *testing.T) {
	config := network.Config{SubnetV4: "192.168.200.0/24"}
	a, b := startVM(t, newPlugin(t, config), "a"), startVM(t, newPlugin(t, config), "a")
	if a.Address() != b.Address() {
		t.Fatalf("%s and %s", a.Address(), b.Address())
	}
	if _, err := a.DialTCP(within(t, 300*time.Millisecond), netip.AddrPortFrom(b.Address().Next(), 80)); err == nil {
		t.Fatal("connected to an address that only the other network could have")
	}
}

func TestDetachCutsConnections(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := newPlugin(t, network.Config{AllowHostLoopback: true})
	vm := startVM(t, p, "a")
	if _, err := vm.DialTCP(within(t, soon), netip.AddrPortFrom(hostAlias(vm.Endpoint), l.Addr().(*net.TCPAddr).AddrPort().Port())); err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := p.Detach(t.Context(), "1", "n", "a"); err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(soon))
	if _, err := c.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Fatalf("the host's side is still open: %v", err)
	}
	if _, err := os.Lstat(vm.Endpoint.Link.UnixDatagram.NetworkPath); !os.IsNotExist(err) {
		t.Fatalf("the socket is left: %v", err)
	}
}

func TestAResetReachesTheOtherSide(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	vm := startVM(t, newPlugin(t, network.Config{AllowHostLoopback: true}), "a")
	c, err := vm.DialTCP(within(t, soon), netip.AddrPortFrom(hostAlias(vm.Endpoint), l.Addr().(*net.TCPAddr).AddrPort().Port()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	h, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = h.(*net.TCPConn).SetLinger(0)
	h.Close()
	_ = c.SetDeadline(time.Now().Add(soon))
	if _, err := c.Read(make([]byte, 1)); err == nil || err == io.EOF || os.IsTimeout(err) {
		t.Fatalf("the guest sees %v", err)
	}
}
