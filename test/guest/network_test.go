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
		route   string
	}{
		{"a subnet", &guestv1.Interface{Mac: "52:54:00:00:00:01", Mtu: 1400, Addresses: []string{"192.0.2.2/24", "2001:db8::2/64"},
			Routes: []*guestv1.Route{{Destination: "0.0.0.0/0", Gateway: "192.0.2.1"}}},
			&guestv1.Dns{Servers: []string{"192.0.2.1"}, Search: []string{"example"}}, "192.0.2.2/24", "default via 192.0.2.1 dev eth0"},
		{"a gateway outside the subnet", &guestv1.Interface{Mac: "52:54:00:00:00:02", Mtu: 1500, Addresses: []string{"198.51.100.7/32"},
			Routes: []*guestv1.Route{{Destination: "203.0.113.0/24"}, {Destination: "0.0.0.0/0", Gateway: "169.254.1.1"}}},
			&guestv1.Dns{Servers: []string{"2001:db8::1"}}, "198.51.100.7/32", "default via 169.254.1.1 dev eth0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			then := time.Date(2030+i, 1, 2, 3, 4, 5, 0, time.UTC)
			_, err := g.Adopt(t.Context(), &guestv1.AdoptRequest{Time: timestamppb.New(then), Entropy: make([]byte, 64), Hostname: "box",
				Interfaces: []*guestv1.Interface{test.adopt}, Dns: test.dns})
			if err != nil {
				t.Fatal(err)
			}
			c := script("ip -o addr show eth0; cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu; ip route; cat /etc/hosts /etc/resolv.conf; stat -c %y /proc/self")
			c.ID, c.Env = "c", []string{"PATH=/bin"}
			result, err := g.Run(c, nil)
			if err != nil {
				t.Fatal(err)
			}
			host, _, _ := strings.Cut(test.address, "/")
			for _, want := range []string{test.address, test.adopt.Mac, test.route, host + "\tbox", "nameserver " + test.dns.Servers[0], then.Format("2006-01-02 03:04")} {
				if !strings.Contains(result.Stdout, want) {
					t.Errorf("%q is missing", want)
				}
			}
			if strings.Count(result.Stdout, " inet ") != 1 {
				t.Error("an address of the earlier identity is left, or there is none")
			}
			if t.Failed() {
				t.Logf("%s%s", result.Stdout, result.Stderr)
			}
		})
	}
	_, err := g.Adopt(t.Context(), &guestv1.AdoptRequest{Interfaces: []*guestv1.Interface{{}, {}}})
	if err == nil {
		t.Error("an interface that is not there was configured")
	}
}
