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

	mu        sync.Mutex
	closed    bool
	pool      *address.Pool
	endpoints map[string]*endpoint
}

func newLAN(s settings, maxSockets int) (*lan, error) {
	plan := s.plan
	n := &lan{
		settings:  s,
		rules:     &destination.Rules{Subnet: plan.Subnet, HostAlias: plan.HostAlias, Internal: s.config.Internal, HostLoopback: s.config.AllowHostLoopback, LAN: s.config.AllowLAN},
		fabric:    fabric.NewSwitch(),
		watchers:  newWatchers(),
		pool:      address.NewPool(plan.Subnet, plan.Gateway, plan.HostAlias),
		endpoints: map[string]*endpoint{},
	}
	n.card = fabric.NewGateway(gatewayMAC, uint32(s.mtu), n.fabric)
	config := nat.Config{Subnet: plan.Subnet, Address: plan.Gateway, Dial: n.rules.Dial, MaxSockets: maxSockets}
	if !s.config.Internal {
		config.Resolver = n.resolver()
	}
	var err error
	n.gateway, err = nat.New(config, n.card)
	return n, err
}

func (n *lan) resolver() *nameserver.Server {
	s := &nameserver.Server{Names: map[string]netip.Addr{"gateway": n.settings.plan.Gateway}, Upstream: new(nameserver.HostResolvers).List}
	if n.settings.config.AllowHostLoopback {
		s.Names["host"] = n.settings.plan.HostAlias
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
		if r.AddressV4.IsValid() && r.AddressV4 != old.address || r.MAC != "" && mac != old.mac || link != *old.info.Link.UnixDatagram {
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
	at, err := n.takeAddress(r)
	if err != nil {
		return network.Endpoint{}, err
	}
	p, err := port.Open(link.NetworkPath, link.VMPath)
	if err != nil {
		n.pool.Release(at)
		return network.Endpoint{}, attachError(r, fault.FailedPrecondition, err, "")
	}
	if err := n.gateway.Add(at, mac); err != nil {
		n.pool.Release(at)
		return network.Endpoint{}, attachError(r, fault.Internal, errors.Join(err, p.Close()), "")
	}
	plan := n.settings.plan
	e := &endpoint{
		info: n.describe(r.EndpointID, at, mac, link), address: at, mac: mac, port: p,
		guard: portguard.Guard{MAC: mac, Address: at, MTU: n.settings.mtu, Subnet: plan.Subnet,
			Gateways: []netip.Addr{plan.Gateway, plan.HostAlias}, Outside: n.rules.Outside},
		bucket:  portguard.Bucket{Frames: n.settings.frames, Bytes: n.settings.bytes},
		network: n.fabric, gateway: n.card, gateMAC: gatewayMAC, report: n.watchers.send,
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	if !n.settings.config.AllowHostLoopback {
		e.guard.Reserved = []netip.Addr{plan.HostAlias}
	}
	n.endpoints[r.EndpointID] = e
	n.fabric.Connect(mac, p)
	go e.receive() // ends in e.close
	n.watchers.send(network.Event{Type: network.Attached, Endpoint: e.info})
	return e.info, nil
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

func (n *lan) takeAddress(r network.AttachRequest) (netip.Addr, error) {
	at, err := r.AddressV4, error(nil)
	if at.IsValid() {
		err = n.pool.Take(at)
	} else {
		at, err = n.pool.Next()
	}
	switch {
	case err == nil:
		return at, nil
	case errors.Is(err, address.ErrTaken):
		return at, attachError(r, fault.AlreadyExists, errors.New("address "+at.String()+" is taken"), "")
	case errors.Is(err, address.ErrExhausted):
		return at, attachError(r, fault.NoSpace, errors.New("subnet "+n.settings.plan.Subnet.String()+" has no free address"),
			"detach endpoints or use a network with a larger subnet")
	}
	return at, attachError(r, fault.Invalid, errors.New("address "+at.String()+" is not one for endpoints of subnet "+n.settings.plan.Subnet.String()), "")
}

func (n *lan) describe(id string, at netip.Addr, mac portguard.MAC, link network.UnixDatagram) network.Endpoint {
	plan := n.settings.plan
	info := network.Endpoint{
		ID: id, Network: n.settings.config.Name, MTU: uint32(n.settings.mtu), MAC: address.FormatMAC(mac),
		Addresses: []netip.Prefix{netip.PrefixFrom(at, plan.Subnet.Bits())},
		Link:      network.Link{UnixDatagram: &link},
	}
	if !n.settings.config.Internal {
		info.Routes = []network.Route{{Destination: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: plan.Gateway}}
		info.DNS = network.DNS{Servers: []netip.Addr{plan.Gateway}}
	}
	return info
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
	n.gateway.Remove(e.address)
	n.pool.Release(e.address)
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
