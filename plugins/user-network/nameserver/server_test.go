package nameserver_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/vzctl/vzctl/plugins/user-network/nameserver"
)

func message(t testing.TB, m dnsmessage.Message) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func question(name string, kind dnsmessage.Type) dnsmessage.Question {
	return dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}
}

// upstream is a resolver whose answers answer makes of the queries; nil is silence.
func upstream(t *testing.T, answer func(m dnsmessage.Message) []dnsmessage.Message) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 4096)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil {
				continue
			}
			for _, a := range answer(m) {
				if packed, err := a.Pack(); err == nil {
					_, _ = c.WriteToUDPAddrPort(packed, from)
				}
			}
		}
	}()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

func TestAnswersOfResolvers(t *testing.T) {
	reply := func(m dnsmessage.Message, code dnsmessage.RCode) dnsmessage.Message {
		m.Response, m.RCode = true, code
		return m
	}
	one := func(code dnsmessage.RCode) func(dnsmessage.Message) []dnsmessage.Message {
		return func(m dnsmessage.Message) []dnsmessage.Message { return []dnsmessage.Message{reply(m, code)} }
	}
	closed, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	nobody := closed.LocalAddr().(*net.UDPAddr).AddrPort()
	forged := func(m dnsmessage.Message) []dnsmessage.Message {
		otherID, otherName, query := reply(m, dnsmessage.RCodeRefused), reply(m, dnsmessage.RCodeRefused), m
		otherID.ID ^= 1
		otherName.Questions = []dnsmessage.Question{question("evil.example.", dnsmessage.TypeA)}
		return []dnsmessage.Message{otherID, otherName, query, reply(m, dnsmessage.RCodeSuccess)}
	}
	for _, test := range []struct {
		name    string
		servers []netip.AddrPort
		want    dnsmessage.RCode
	}{
		{"come back as they are", []netip.AddrPort{upstream(t, one(dnsmessage.RCodeNameError))}, dnsmessage.RCodeNameError},
		{"of the second when the first is not there", []netip.AddrPort{nobody, upstream(t, one(dnsmessage.RCodeSuccess))}, dnsmessage.RCodeSuccess},
		{"of the second when the first fails", []netip.AddrPort{upstream(t, one(dnsmessage.RCodeServerFailure)), upstream(t, one(dnsmessage.RCodeSuccess))}, dnsmessage.RCodeSuccess},
		{"of the first when all fail", []netip.AddrPort{upstream(t, one(dnsmessage.RCodeRefused))}, dnsmessage.RCodeRefused},
		{"to other queries are not taken", []netip.AddrPort{upstream(t, forged)}, dnsmessage.RCodeSuccess},
		{"are failures when nobody is there", []netip.AddrPort{nobody}, dnsmessage.RCodeServerFailure},
		{"are failures when there is nobody to ask", nil, dnsmessage.RCodeServerFailure},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := nameserver.Server{Upstream: func() []netip.AddrPort { return test.servers }}
			query := message(t, dnsmessage.Message{Header: dnsmessage.Header{ID: 4711}, Questions: []dnsmessage.Question{question("example.com.", dnsmessage.TypeTXT)}})
			var m dnsmessage.Message
			if err := m.Unpack(s.Answer(t.Context(), query, false)); err != nil {
				t.Fatal(err)
			}
			if m.ID != 4711 || !m.Response || m.RCode != test.want {
				t.Fatalf("%+v, want %s", m.Header, test.want)
			}
		})
	}
}

func TestMessagesThatAreNoQueriesAreNotPassedOn(t *testing.T) {
	s := nameserver.Server{Upstream: func() []netip.AddrPort { t.Error("asked a resolver"); return nil }}
	q := []dnsmessage.Question{question("example.com.", dnsmessage.TypeA)}
	for _, test := range []struct {
		name   string
		query  []byte
		silent bool
		want   dnsmessage.RCode
	}{
		{"garbage", []byte{1, 2, 3}, true, 0},
		{"a response", message(t, dnsmessage.Message{Header: dnsmessage.Header{Response: true}, Questions: q}), true, 0},
		{"no question", message(t, dnsmessage.Message{}), false, dnsmessage.RCodeFormatError},
		{"two questions", message(t, dnsmessage.Message{Questions: append(q, q...)}), false, dnsmessage.RCodeFormatError},
		{"an update", message(t, dnsmessage.Message{Header: dnsmessage.Header{OpCode: 5}, Questions: q}), false, dnsmessage.RCodeNotImplemented},
		{"an unknown name of the zone", message(t, dnsmessage.Message{Questions: []dnsmessage.Question{question("x.vzctl.internal.", dnsmessage.TypeA)}}), false, dnsmessage.RCodeNameError},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := s.Answer(t.Context(), test.query, false)
			if test.silent {
				if answer != nil {
					t.Fatalf("answered %x", answer)
				}
				return
			}
			var m dnsmessage.Message
			if err := m.Unpack(answer); err != nil || m.RCode != test.want {
				t.Fatalf("%+v %v, want %s", m.Header, err, test.want)
			}
		})
	}
}

func TestTheHostsResolversAreReadAgainWhenTheyChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	h := nameserver.HostResolvers{Path: path}
	want := func(texts ...string) {
		t.Helper()
		got := h.List()
		if len(got) != len(texts) {
			t.Fatalf("%v, want %v", got, texts)
		}
		for i := range got {
			if got[i].String() != texts[i] {
				t.Fatalf("%v, want %v", got, texts)
			}
		}
	}
	want("127.0.0.1:53")
	if err := os.WriteFile(path, []byte("# comment\nsearch example.com\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\nnameserver x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want("127.0.0.53:53", "[fe80::1%eth0]:53")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	want("127.0.0.1:53")
}

func TestANameOfTheZoneHasItsAddressOfEachFamily(t *testing.T) {
	s := nameserver.Server{Names: map[string][]netip.Addr{
		"both": {netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}, "six": {netip.MustParseAddr("fd00::2")}},
		Upstream: func() []netip.AddrPort { t.Error("somebody else is asked"); return nil }}
	for _, test := range []struct {
		name string
		kind dnsmessage.Type
		want []string
		code dnsmessage.RCode
	}{
		{"both", dnsmessage.TypeA, []string{"10.0.0.1"}, dnsmessage.RCodeSuccess},
		{"both", dnsmessage.TypeAAAA, []string{"fd00::1"}, dnsmessage.RCodeSuccess},
		{"both", dnsmessage.TypeALL, []string{"10.0.0.1", "fd00::1"}, dnsmessage.RCodeSuccess},
		{"six", dnsmessage.TypeAAAA, []string{"fd00::2"}, dnsmessage.RCodeSuccess},
		{"six", dnsmessage.TypeA, nil, dnsmessage.RCodeSuccess},
		{"both", dnsmessage.TypeMX, nil, dnsmessage.RCodeSuccess},
		{"none", dnsmessage.TypeAAAA, nil, dnsmessage.RCodeNameError},
	} {
		t.Run(test.name+" "+test.kind.String(), func(t *testing.T) {
			var m dnsmessage.Message
			query := message(t, dnsmessage.Message{Questions: []dnsmessage.Question{question(test.name+".vzctl.internal.", test.kind)}})
			if err := m.Unpack(s.Answer(t.Context(), query, false)); err != nil || m.RCode != test.code {
				t.Fatal(m.RCode, err)
			}
			var got []string
			for _, a := range m.Answers {
				switch body := a.Body.(type) {
				case *dnsmessage.AResource:
					got = append(got, netip.AddrFrom4(body.A).String())
				case *dnsmessage.AAAAResource:
					got = append(got, netip.AddrFrom16(body.AAAA).String())
				}
			}
			if !slices.Equal(got, test.want) {
				t.Fatalf("%v, want %v", got, test.want)
			}
		})
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(message(f, dnsmessage.Message{Questions: []dnsmessage.Question{question("host.vzctl.internal.", dnsmessage.TypeA)}}))
	f.Add([]byte{0, 1, 1, 0, 0, 1})
	s := nameserver.Server{Names: map[string][]netip.Addr{"host": {netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::fe")}}, Upstream: func() []netip.AddrPort { return nil }}
	f.Fuzz(func(t *testing.T, query []byte) {
		answer := s.Answer(context.Background(), query, false)
		if answer == nil {
			return
		}
		var p dnsmessage.Parser
		if h, err := p.Start(answer); err != nil || !h.Response {
			t.Fatalf("%x answered with %x: %v", query, answer, err)
		}
	})
}
