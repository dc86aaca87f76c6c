// Package usernet is the user-network plugin: networks of VMs in user space, without any privilege. A network is a switch (package fabric) with
// one guarded port (packages port and portguard) for each endpoint and a gateway (package nat) that makes the guests' connections again with
// sockets of the host.
//
// Start with [Plugin], the contract's calls; network.go is one network, endpoint.go the way of a frame. docs/network.md describes the whole.
package usernet

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"github.com/vzctl/vzctl/plugins/user-network/address"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/network"
)

// Plugin holds any number of networks. The zero value holds none and is ready.
type Plugin struct {
	mu   sync.Mutex
	lans map[string]*lan
}

var _ network.Network = (*Plugin)(nil)

// Capabilities of the plugin, for sdk.Info.
func Capabilities() map[string][]string {
	return map[string][]string{
		network.CapabilityLink:    {network.LinkUnixDatagram},
		network.CapabilityFamily:  {"ipv4", "ipv6"},
		network.CapabilityFeature: {network.FeatureIsolation, network.FeatureInternal},
	}
}

// Create implements network.Network.
func (p *Plugin) Create(_ context.Context, _ string, config network.Config) (network.Info, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.lans[config.Name]; old != nil {
		if what := old.settings.differs(config); what != "" {
			return network.Info{}, &fault.Error{Reason: fault.AlreadyExists, Op: "create network", Subject: config.Name,
				Cause: errors.New("it exists with " + what), Hint: "delete it first"}
		}
		return old.settings.info(), nil
	}
	s, err := check(config, choices{
		v4: func() netip.Prefix { return address.Choose(append(address.InUse(), p.subnets()...)) },
		v6: func() netip.Prefix { return address.ChooseV6(config.Name, append(address.InUseV6(), p.subnets()...)) },
	})
	if err != nil {
		return network.Info{}, err
	}
	n, err := newLAN(s, maxSockets())
	if err != nil {
		return network.Info{}, &fault.Error{Reason: fault.Internal, Op: "create network", Subject: config.Name, Cause: err}
	}
	if p.lans == nil {
		p.lans = map[string]*lan{}
	}
	p.lans[config.Name] = n
	return s.info(), nil
}

// subnets lists those of the networks. p.mu is held.
func (p *Plugin) subnets() []netip.Prefix {
	var list []netip.Prefix
	for _, n := range p.lans {
		for _, plan := range n.settings.plans() {
			list = append(list, plan.Subnet)
		}
	}
	return list
}

// maxSockets is what one guest may have of each kind: an eighth of the files that this process may open.
func maxSockets() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 128
	}
	return int(min(max(uint64(limit.Cur)/8, 64), 4096))
}

// Delete implements network.Network.
func (p *Plugin) Delete(_ context.Context, _, name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.lans[name]
	if n == nil {
		return nil
	}
	if !n.closeIfUnused() {
		return &fault.Error{Reason: fault.InUse, Op: "delete network", Subject: name, Cause: errors.New("endpoints are attached"), Hint: "detach them first"}
	}
	delete(p.lans, name)
	return nil
}

// List implements network.Network.
func (p *Plugin) List(context.Context) ([]network.Info, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []network.Info
	for _, name := range slices.Sorted(maps.Keys(p.lans)) {
		list = append(list, p.lans[name].settings.info())
	}
	return list, nil
}

func noNetwork(op, name string) error {
	return &fault.Error{Reason: fault.NotFound, Op: op, Subject: name, Cause: errors.New("there is no such network")}
}

func (p *Plugin) find(op, name string) (*lan, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.lans[name]; n != nil {
		return n, nil
	}
	return nil, noNetwork(op, name)
}

// Attach implements network.Network.
func (p *Plugin) Attach(_ context.Context, r network.AttachRequest) (network.Endpoint, error) {
	fail := func(reason fault.Reason, text string) (network.Endpoint, error) {
		return network.Endpoint{}, attachError(r, reason, errors.New(text), "")
	}
	switch {
	case !identifier.MatchString(r.EndpointID):
		return fail(fault.Invalid, "an endpoint's id has 1 to 64 letters, digits, '_', '.' and '-', and begins with a letter or digit")
	case len(r.LinkTypes) > 0 && !slices.Contains(r.LinkTypes, network.LinkUnixDatagram):
		return fail(fault.Unsupported, "user-network offers only links of type \""+network.LinkUnixDatagram+"\"")
	case len(r.Ports) > 0:
		return fail(fault.Unsupported, "user-network does not publish ports")
	case len(r.Names) > 0:
		return fail(fault.Unsupported, "user-network does not resolve names of endpoints")
	}
	n, err := p.find("attach to network", r.Network)
	if err != nil {
		return network.Endpoint{}, err
	}
	return n.attach(r)
}

// Detach implements network.Network.
func (p *Plugin) Detach(_ context.Context, _, name, id string) error {
	n, err := p.find("detach from network", name)
	if err != nil {
		return nil // what was on it is gone with it
	}
	if err := n.detach(id); err != nil {
		return &fault.Error{Reason: fault.Internal, Op: "detach", Subject: id, Cause: err}
	}
	return nil
}

// ListEndpoints implements network.Network.
func (p *Plugin) ListEndpoints(_ context.Context, name string) ([]network.Endpoint, error) {
	n, err := p.find("list endpoints of network", name)
	if err != nil {
		return nil, err
	}
	return n.list(), nil
}

// Watch implements network.Network.
func (p *Plugin) Watch(ctx context.Context, name string, event func(network.Event)) error {
	n, err := p.find("watch network", name)
	if err != nil {
		return err
	}
	return n.watchers.watch(ctx, event)
}

// Shutdown detaches everything and deletes all networks.
func (p *Plugin) Shutdown(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for name, n := range p.lans {
		for _, e := range n.list() {
			errs = append(errs, n.detach(e.ID))
		}
		n.closeIfUnused()
		delete(p.lans, name)
	}
	return errors.Join(errs...)
}
