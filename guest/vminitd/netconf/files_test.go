package netconf

import "testing"

func TestResolvConf(t *testing.T) {
	got, err := ResolvConf(DNS{Servers: []string{"192.0.2.1", "2001:db8::1"}, Search: []string{"a.example", "b.example"}, Options: []string{"ndots:2"}, Domain: "example"})
	if want := "domain example\nsearch a.example b.example\nnameserver 192.0.2.1\nnameserver 2001:db8::1\noptions ndots:2\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []DNS{{Servers: []string{"one"}}, {Search: []string{"a\nnameserver 1.1.1.1"}}, {Domain: "a b"}, {Options: []string{"#"}}} {
		if _, err := ResolvConf(bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

func TestHostsNamesTheFirstInterfaceThatHasAnAddress(t *testing.T) {
	const local = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	for _, test := range []struct {
		name       string
		interfaces []Interface
		want       string
	}{
		{"", nil, ""},
		{"box", nil, "127.0.1.1\tbox\n"},
		{"box", []Interface{{}, {Addresses: []string{"192.0.2.7/24", "2001:db8::7/64"}}, {Addresses: []string{"192.0.2.8/24"}}},
			"192.0.2.7\tbox\n2001:db8::7\tbox\n"},
	} {
		if got := string(Hosts(test.name, test.interfaces)); got != local+test.want {
			t.Errorf("%q", got)
		}
	}
}

func TestALineOfHostsIsOneLine(t *testing.T) {
	if line, err := HostsLine("::1", "db"); err != nil || line != "::1\tdb\n" {
		t.Errorf("%q, %v", line, err)
	}
	for _, bad := range [][2]string{{"db", "::1"}, {"10.0.0.1", ""}, {"10.0.0.1", "a\n10.0.0.2 b"}, {"10.0.0.1", "a#b"}} {
		if _, err := HostsLine(bad[0], bad[1]); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
