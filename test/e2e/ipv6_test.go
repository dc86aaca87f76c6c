package e2e

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// networks6 are of IPv6 beside IPv4, and alone, each with a gateway in its subnet and outside of it.
const networks6 = `
[networks.dual]
subnet_v4 = "10.66.0.0/24"
subnet_v6 = "fd00:66::/64"
allow_host_loopback = true
[networks.outside]
subnet_v6 = "fd00:67::/64"
gateway_v6 = "fd00:99::1"
[networks.six]
subnet_v4 = "none"
subnet_v6 = "fd00:68::/64"
[networks.six-outside]
subnet_v4 = "none"
subnet_v6 = "fd00:69::/64"
gateway_v6 = "fd00:99::1"
[networks.four]
subnet_v6 = "none"
`

func people6(t *testing.T) *person {
	p := me(t)
	dir := t.TempDir()
	p.env = append(slices.Clone(p.env), "XDG_CONFIG_HOME="+dir)
	p.configIn(dir, networks6)
	return p
}

// facts6 prints what a container has of IPv6, and of IPv4: addresses, default routes and a route to a gateway outside, name server, answers to ping by name.
const facts6 = `
addresses() { ip -$1 -o addr show eth0 scope global | awk '{print $4}'; }
echo "v4=$(addresses 4)" "v6=$(addresses 6)" "tentative=$(ip -6 -o addr show eth0 scope global | grep -c tentative)"
echo "route4=$(ip route | awk '/^default/ {print $3}')" "route6=$(ip -6 route | awk '/^default/ {print $3}')" "link=$(ip -6 route | grep -c '^fd00:99::1 dev eth0')"
echo "dns=$(awk '/^nameserver/ {print $2}' /etc/resolv.conf)"
ping -6 -c 1 -W 5 gateway.vzctl.internal >/dev/null && echo gateway answers
ping -6 -c 1 -W 5 $(hostname) >/dev/null && echo the host name resolves`

func TestE2EIPv6OfEachKindOfNetwork(t *testing.T) {
	p := people6(t)
	for _, test := range []struct{ name, network, want string }{
		{"a gateway outside the subnet", "outside", "v6=fd00:67::1/64 tentative=0 route6=fd00:99::1 link=1"},
		{"alone", "six", "v4= v6=fd00:68::2/64 tentative=0 route4= route6=fd00:68::1 link=0 dns=fd00:68::1"},
		{"alone, with a gateway outside the subnet", "six-outside", "v4= v6=fd00:69::1/64 tentative=0 route4= route6=fd00:99::1 link=1 dns=fd00:99::1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := p.must("run", "--rm", "--network", test.network, p.desk.busybox, "sh", "-c", facts6)
			for _, want := range append(strings.Fields(test.want), "gateway answers\nthe host name resolves") {
				if !strings.Contains(" "+strings.ReplaceAll(got, "\n", " \n "), " "+strings.ReplaceAll(want, "\n", " \n ")+" ") {
					t.Errorf("%q is missing", want)
				}
			}
			if t.Failed() {
				t.Log(got)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		if got := p.must("run", "--rm", "--network", "four", p.desk.busybox, "sh", "-c", "ip -6 -o addr show eth0 scope global; ip -6 route | grep ^default; ip -4 -o addr show eth0 | wc -l"); got != "1\n" {
			t.Errorf("the container has %q", got)
		}
	})
}

func TestE2EIPv6BesideIPv4(t *testing.T) {
	listener, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("from the host\n"))
			c.Close()
		}
	}()
	hostPort := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)

	p := people6(t)
	server, client := p.name(), p.name()+"-client"
	t.Cleanup(func() { p.vzctl("rm", "-f", client) })
	p.must("run", "-d", "--name", server, "--network", "dual", p.desk.busybox, "sh", "-c", "while :; do echo from the server | nc -l -p 8000; done")
	p.must("run", "-d", "--name", client, "--network", "dual", p.desk.busybox, "sleep", "1000")
	s, _ := p.find(server)
	c, _ := p.find(client)
	if !slices.Equal(s.Addresses, []string{"10.66.0.2/24", "fd00:66::2/64"}) || !slices.Equal(c.Addresses, []string{"10.66.0.3/24", "fd00:66::3/64"}) {
		t.Errorf("ls shows addresses %v and %v", s.Addresses, c.Addresses)
	}
	if got := p.must("network", "ls"); !strings.Contains(got, "10.66.0.0/24, fd00:66::/64") {
		t.Errorf("network ls says\n%s", got)
	}
	linkLocal, _, _ := strings.Cut(p.must("exec", server, "sh", "-c", "ip -6 -o addr show eth0 scope link | awk '{print $4}'"), "/")
	for _, test := range []struct{ name, script, want string }{
		{"an address of each family, for use at once", "ip -o addr show eth0 scope global | awk '{print $4}'; ip -6 addr show eth0 | grep -c tentative", "10.66.0.3/24\nfd00:66::3/64\n0\n"},
		{"a default route of each family", "ip route | grep -c '^default via 10.66.0.1 dev eth0'; ip -6 route | grep -c '^default via fd00:66::1 dev eth0'", "1\n1\n"},
		{"hosts has both addresses", "grep -c \"$(hostname)$\" /etc/hosts; grep -c '^fd00:66::3' /etc/hosts", "2\n1\n"},
		{"no router is listened to", "cat /proc/sys/net/ipv6/conf/eth0/accept_ra", "0\n"},
		{"the gateway answers, by its name", "ping -6 -c 1 -W 5 gateway.vzctl.internal >/dev/null && echo yes", "yes\n"},
		{"another container answers", "ping -6 -c 1 -W 5 fd00:66::2 >/dev/null && echo yes", "yes\n"},
		{"so does its link-local address", "ping -6 -c 1 -W 5 " + linkLocal + "%eth0 >/dev/null && echo yes", "yes\n"},
		{"another container is reached", "nc -w 10 fd00:66::2 8000 </dev/null", "from the server\n"},
		{"a port that nobody has is refused", "nc -w 10 fd00:66::2 8001 </dev/null 2>&1 | grep -c refused", "1\n"},
		{"the host's loopback, where that is allowed", "nc -w 10 fd00:66::fe " + hostPort + " </dev/null", "from the host\n"},
		{"a private network is refused at once", "nc -w 10 fd12::1 80 </dev/null 2>&1 | grep -c refused; nc -w 10 64:ff9b::10.0.0.1 80 </dev/null 2>&1 | grep -c refused", "1\n1\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if r := me(t).vzctl("exec", client, "sh", "-c", test.script); r.stdout != test.want {
				t.Errorf("it says %q, %q; want %q", r.stdout, r.stderr, test.want)
			}
		})
	}
}
