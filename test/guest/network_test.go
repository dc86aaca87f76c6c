package guest

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

func TestVMAdoptConfiguresTheNetworkAndCanBeRepeated(t *testing.T) {
	g := Start(t, Options{Disks: []Disk{Image(t).Named("rootfs0"), Layer(t).Named("layer")},
		Arguments: []string{"-netdev", "hubport,id=n0,hubid=0", "-device", "virtio-net-device,netdev=n0"}})
	for i, test := range []struct {
		name    string
		adopt   *guestv1.Interface
		dns     *guestv1.Dns
		address string
		routes  []string
		counts  string // addresses of IPv4, of IPv6 beside link-local, and those that are not in use yet
	}{
		{"a subnet of each family", &guestv1.Interface{Mac: "52:54:00:00:00:01", Mtu: 1400, Addresses: []string{"192.0.2.2/24", "2001:db8::2/64"},
			Routes: []*guestv1.Route{{Destination: "0.0.0.0/0", Gateway: "192.0.2.1"}, {Destination: "::/0", Gateway: "2001:db8::1"}}},
			&guestv1.Dns{Servers: []string{"192.0.2.1"}, Search: []string{"example"}}, "192.0.2.2/24",
			[]string{"default via 192.0.2.1 dev eth0", "192.0.2.0/24 dev eth0", "default via 2001:db8::1 dev eth0", "2001:db8::/64 dev eth0"}, "1 1 0"},
		{"gateways outside their subnets", &guestv1.Interface{Mac: "52:54:00:00:00:02", Mtu: 1500, Addresses: []string{"198.51.100.7/32", "2001:db8:7::7/64"},
			Routes: []*guestv1.Route{{Destination: "203.0.113.0/24"}, {Destination: "0.0.0.0/0", Gateway: "169.254.1.1"},
				{Destination: "2001:db8:9::1/128"}, {Destination: "::/0", Gateway: "2001:db8:9::1"}}},
			&guestv1.Dns{Servers: []string{"2001:db8::1"}}, "198.51.100.7/32",
			[]string{"203.0.113.0/24 dev eth0", "default via 169.254.1.1 dev eth0", "2001:db8:9::1 dev eth0", "default via 2001:db8:9::1 dev eth0"}, "1 1 0"},
		{"IPv6 alone", &guestv1.Interface{Mac: "52:54:00:00:00:03", Mtu: 1280, Addresses: []string{"2001:db8::3/64"},
			Routes: []*guestv1.Route{{Destination: "::/0", Gateway: "2001:db8::1"}}},
			&guestv1.Dns{Servers: []string{"2001:db8::1"}}, "2001:db8::3/64", []string{"default via 2001:db8::1 dev eth0"}, "0 1 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			then := time.Date(2030+i, 1, 2, 3, 4, 5, 0, time.UTC)
			_, err := g.Adopt(t.Context(), &guestv1.AdoptRequest{Time: timestamppb.New(then), Entropy: make([]byte, 64), Hostname: "box",
				Interfaces: []*guestv1.Interface{test.adopt}, Dns: test.dns})
			if err != nil {
				t.Fatal(err)
			}
			c := script("ip -o addr show eth0; cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu; ip route; ip -6 route; " +
				"echo counts $(ip -4 -o addr show eth0 | wc -l) $(ip -6 -o addr show eth0 scope global | wc -l) $(ip -6 -o addr show eth0 scope global | grep -c tentative); cat /etc/hosts /etc/resolv.conf; sh -c 'stat -c %y /proc/$$'")
			c.ID, c.Env = "c", []string{"PATH=/bin"}
			result, err := g.Run(c, nil)
			if err != nil {
				t.Fatal(err)
			}
			host, _, _ := strings.Cut(test.address, "/")
			for _, want := range append(test.routes, test.address, test.adopt.Mac, host+"\tbox", "nameserver "+test.dns.Servers[0], then.Format("2006-01-02 03:04"),
				"counts "+test.counts) {
				if !strings.Contains(result.Stdout, want) {
					t.Errorf("%q is missing", want)
				}
			}
			if t.Failed() {
				t.Logf("%s%s", result.Stdout, result.Stderr)
			}
		})
	}
	for _, test := range []struct {
		name       string
		interfaces []*guestv1.Interface
		says       string
	}{
		{"an interface that is not there", []*guestv1.Interface{{}, {}}, "2 interfaces"},
		{"a gateway of the other family", []*guestv1.Interface{{Routes: []*guestv1.Route{{Destination: "::/0", Gateway: "192.0.2.1"}}}}, "different families"},
		{"what the kernel refuses", []*guestv1.Interface{{Addresses: []string{"2001:db8::5/64"}, Routes: []*guestv1.Route{{Destination: "::/0", Gateway: "2001:db8::5"}}}},
			"route to ::/0: invalid argument"},
		{"an MTU that is none", []*guestv1.Interface{{Mtu: 1, Addresses: []string{"2001:db8::5/64"}}}, "MTU 1, and bring it up: invalid argument"},
	} {
		if _, err := g.Adopt(t.Context(), &guestv1.AdoptRequest{Interfaces: test.interfaces}); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
