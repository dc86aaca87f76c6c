package usernet

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/vzctl/vzctl/plugins/user-network/address"
	"github.com/vzctl/vzctl/plugins/user-network/destination"
	"github.com/vzctl/vzctl/plugins/user-network/fabric"
	"github.com/vzctl/vzctl/plugins/user-network/nameserver"
	"github.com/vzctl/vzctl/plugins/user-network/nat"
	"github.com/vzctl/vzctl/plugins/user-network/neighbour"
	"github.com/vzctl/vzctl/plugins/user-network/port"
	"github.com/vzctl/vzctl/plugins/user-network/portguard"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/network"
)

// gatewayMAC is the same in every process, so that what guests remember of it stays true over a restart of the plugin.
var gatewayMAC = portguard.MAC{0x02, 0x76, 0x7a, 0x00, 0x00, 0x01}

// lan is one network: a switch, a gateway and endpoints.
type lan struct {
	settings settings
	rules    *destination.Rules
	fabric   *fabric.Switch
	card     *fabric.Gateway
	gateway  *nat.Gateway
	watchers *watchers
	// neighbours is whom the network answers for in IPv6: gateway and endpoints.
	neighbours *neighbour.Table

	mu        sync.Mutex
	closed    bool
	pools     []pool
	endpoints map[string]*endpoint
}

// pool has the addresses of one family.
type pool struct {
	*address.Pool
	plan address.Plan
}

func newLAN(s settings, maxSockets int) (*lan, error) {
	n := &lan{
		settings:   s,
		rules:      &destination.Rules{Internal: s.config.Internal, HostLoopback: s.config.AllowHostLoopback, LAN: s.config.AllowLAN},
		fabric:     fabric.NewSwitch(),
		watchers:   newWatchers(),
		neighbours: &neighbour.Table{Router: gatewayMAC},
		endpoints:  map[string]*endpoint{},
	}
	n.card = fabric.NewGateway(gatewayMAC, uint32(s.mtu), n.fabric)
	config := nat.Config{Dial: n.rules.Dial, MaxSockets: maxSockets}
	for _, plan := range s.plans() {
		n.pools = append(n.pools, pool{address.NewPool(plan.Subnet, plan.Gateway, plan.HostAlias), plan})
		n.rules.Own = append(n.rules.Own, plan.Subnet, netip.PrefixFrom(plan.Gateway, plan.Gateway.BitLen()))
		n.rules.HostAliases = append(n.rules.HostAliases, plan.HostAlias)
		config.Links = append(config.Links, nat.Link{Subnet: plan.Subnet, Address: plan.Gateway})
		n.neighbours.Add(plan.Gateway, gatewayMAC)
		n.neighbours.Add(plan.HostAlias, gatewayMAC)
	}
	if !s.config.Internal {
		config.Resolver = n.resolver()
	}
	var err error
	n.gateway, err = nat.New(config, n.card)
	return n, err
}

func (n *lan) resolver() *nameserver.Server {
	s := &nameserver.Server{Names: map[string][]netip.Addr{}, Upstream: new(nameserver.HostResolvers).List}
	for _, plan := range n.settings.plans() {
		s.Names["gateway"] = append(s.Names["gateway"], plan.Gateway)
		// With IPv4 the name has no other address: most of what listens on a host's loopback does so on 127.0.0.1 alone, and not every client tries a second address.
		if n.settings.config.AllowHostLoopback && s.Names["host"] == nil {
			s.Names["host"] = append(s.Names["host"], plan.HostAlias)
		}
	}
	if servers := n.settings.dns; servers != nil {
		s.Upstream = func() []netip.AddrPort { return servers }
	}
	return s
}

func attachError(r network.AttachRequest, reason fault.Reason, cause error, hint string) error {
	return &fault.Error{Reason: reason, Op: "attach to network \"" + r.Network + "\"", Subject: r.EndpointID, Cause: cause, Hint: hint}
}

// attach makes an endpoint, or finds the one that an equal request made.
func (n *lan) attach(r network.AttachRequest) (network.Endpoint, error) {
	var mac portguard.MAC
	if r.MAC != "" {
		var err error
		if mac, err = address.ParseMAC(r.MAC); err != nil {
			return network.Endpoint{}, attachError(r, fault.Invalid, errors.New("\""+r.MAC+"\" is "+err.Error()), "")
		}
	}
	link, err := linkPaths(r.LinkDir, r.Network, r.EndpointID)
	if err == nil {
		err = checkLinkDir(r.LinkDir)
	}
	if err != nil {
		return network.Endpoint{}, attachError(r, fault.Invalid, err, "")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return network.Endpoint{}, noNetwork("attach to network", r.Network)
	}
	if old := n.endpoints[r.EndpointID]; old != nil {
		other := func(wish netip.Addr) bool { return wish.IsValid() && !slices.Contains(old.addresses, wish) }
		if other(r.AddressV4) || other(r.AddressV6) || r.MAC != "" && mac != old.mac || link != *old.info.Link.UnixDatagram {
			return network.Endpoint{}, attachError(r, fault.AlreadyExists, errors.New("it is attached with other wishes"), "detach it first")
		}
		return old.info, nil
	}
	return n.make(r, mac, link)
}

// make attaches a new endpoint. n.mu is held.
func (n *lan) make(r network.AttachRequest, mac portguard.MAC, link network.UnixDatagram) (_ network.Endpoint, err error) {
	if mac, err = n.chooseMAC(mac); err != nil {
		return network.Endpoint{}, attachError(r, fault.AlreadyExists, err, "")
	}
	addresses, err := n.takeAddresses(r)
	if err != nil {
		return network.Endpoint{}, err
	}
	p, err := port.Open(link.NetworkPath, link.VMPath)
	if err != nil {
		n.release(addresses)
		return network.Endpoint{}, attachError(r, fault.FailedPrecondition, err, "")
	}
	if err := n.gateway.Add(mac, addresses...); err != nil {
		n.release(addresses)
		return network.Endpoint{}, attachError(r, fault.Internal, errors.Join(err, p.Close()), "")
	}
	e := &endpoint{
		info: n.describe(r.EndpointID, addresses, mac, link), addresses: addresses, mac: mac, port: p,
		guard:      n.guard(mac, addresses),
		bucket:     portguard.Bucket{Frames: n.settings.frames, Bytes: n.settings.bytes},
		neighbours: n.neighbours, network: n.fabric, gateway: n.card, gateMAC: gatewayMAC, report: n.watchers.send,
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	n.endpoints[r.EndpointID] = e
	for _, a := range e.known() {
		n.neighbours.Add(a, mac)
	}
	n.fabric.Connect(mac, p)
	go e.receive() // ends in e.close
	n.watchers.send(network.Event{Type: network.Attached, Endpoint: e.info})
	return e.info, nil
}

// guard is that of an endpoint's port.
func (n *lan) guard(mac portguard.MAC, addresses []netip.Addr) portguard.Guard {
	g := portguard.Guard{MAC: mac, MTU: n.settings.mtu, Outside: n.rules.Outside}
	for i, p := range n.pools {
		var reserved []netip.Addr
		if !n.settings.config.AllowHostLoopback {
			reserved = []netip.Addr{p.plan.HostAlias}
		}
		if addresses[i].Is4() {
			g.Address, g.Subnet, g.Reserved = addresses[i], p.plan.Subnet, reserved
			g.Gateways = []netip.Addr{p.plan.Gateway, p.plan.HostAlias}
		} else {
			g.V6 = portguard.V6{Address: addresses[i], LinkLocal: address.LinkLocal(mac), Subnet: p.plan.Subnet, Gateway: p.plan.Gateway, Reserved: reserved}
		}
	}
	return g
}

func (n *lan) chooseMAC(wanted portguard.MAC) (portguard.MAC, error) {
	taken := func(m portguard.MAC) bool {
		for _, e := range n.endpoints {
			if e.mac == m {
				return true
			}
		}
		return m == gatewayMAC
	}
	if wanted != (portguard.MAC{}) {
		if taken(wanted) {
			return wanted, errors.New("MAC " + address.FormatMAC(wanted) + " is taken")
		}
		return wanted, nil
	}
	for {
		if m := address.RandomMAC(); !taken(m) {
			return m, nil
		}
	}
}

// takeAddresses takes one of each pool. n.mu is held.
func (n *lan) takeAddresses(r network.AttachRequest) ([]netip.Addr, error) {
	if r.AddressV4.IsValid() && !n.settings.v4.Exists() || r.AddressV6.IsValid() && !n.settings.v6.Exists() {
		return nil, attachError(r, fault.Unsupported, errors.New("an address is wanted of a family that the network does not have"), "")
	}
	var taken []netip.Addr
	for _, p := range n.pools {
		wish := r.AddressV4
		if p.plan.Subnet.Addr().Is6() {
			wish = r.AddressV6
		}
		at, err := takeAddress(r, p, wish)
		if err != nil {
			n.release(taken)
			return nil, err
		}
		taken = append(taken, at)
	}
	return taken, nil
}

// release gives addresses back that takeAddresses took. n.mu is held.
func (n *lan) release(addresses []netip.Addr) {
	for i, a := range addresses {
		n.pools[i].Release(a)
	}
}

func takeAddress(r network.AttachRequest, p pool, at netip.Addr) (_ netip.Addr, err error) {
	if at.IsValid() {
		err = p.Take(at)
	} else {
		at, err = p.Next()
	}
	switch {
	case err == nil:
		return at, nil
	case errors.Is(err, address.ErrTaken):
		return at, attachError(r, fault.AlreadyExists, errors.New("address "+at.String()+" is taken"), "")
	case errors.Is(err, address.ErrExhausted):
		return at, attachError(r, fault.NoSpace, errors.New("subnet "+p.plan.Subnet.String()+" has no free address"),
			"detach endpoints or use a network with a larger subnet")
	}
	return at, attachError(r, fault.Invalid, errors.New("address "+at.String()+" is not one for endpoints of subnet "+p.plan.Subnet.String()), "")
}

func (n *lan) describe(id string, addresses []netip.Addr, mac portguard.MAC, link network.UnixDatagram) network.Endpoint {
	info := network.Endpoint{
		ID: id, Network: n.settings.config.Name, MTU: uint32(n.settings.mtu), MAC: address.FormatMAC(mac),
		Link: network.Link{UnixDatagram: &link},
	}
	for i, p := range n.pools {
		info.Addresses = append(info.Addresses, netip.PrefixFrom(addresses[i], p.plan.Subnet.Bits()))
		if n.settings.config.Internal {
			continue
		}
		if gateway := p.plan.Gateway; !p.plan.Subnet.Contains(gateway) {
			info.Routes = append(info.Routes, network.Route{Destination: netip.PrefixFrom(gateway, gateway.BitLen())}) // it is on the link nevertheless
		}
		info.Routes = append(info.Routes, network.Route{Destination: everything(p.plan.Gateway), Gateway: p.plan.Gateway})
		if len(info.DNS.Servers) == 0 {
			info.DNS.Servers = []netip.Addr{p.plan.Gateway} // one knows all
		}
	}
	return info
}

// everything is the destination of the default route of a gateway's family.
func everything(gateway netip.Addr) netip.Prefix {
	if gateway.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// detach frees all of an endpoint.
func (n *lan) detach(id string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := n.endpoints[id]
	if e == nil {
		return nil
	}
	delete(n.endpoints, id)
	n.fabric.Disconnect(e.mac)
	err := e.close()
	for _, a := range e.known() {
		n.neighbours.Remove(a)
	}
	n.gateway.Remove(e.addresses...)
	n.release(e.addresses)
	n.watchers.send(network.Event{Type: network.Detached, Endpoint: e.info})
	return err
}

func (n *lan) list() []network.Endpoint {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []network.Endpoint
	for _, id := range slices.Sorted(maps.Keys(n.endpoints)) {
		list = append(list, n.endpoints[id].info)
	}
	return list
}

// closeIfUnused ends the network unless it has endpoints.
func (n *lan) closeIfUnused() bool {
	n.mu.Lock()
	if len(n.endpoints) > 0 {
		n.mu.Unlock()
		return false
	}
	n.closed = true
	n.mu.Unlock()
	n.gateway.Close()
	n.watchers.close()
	return true
}
