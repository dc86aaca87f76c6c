package netd

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/network"
)

// plugin is a network plugin in memory. It gives addresses in order, and dies when told to.
type plugin struct {
	network.Network // nil: what is not written here is not called
	done            chan struct{}

	mu       sync.Mutex
	config   network.Config
	attached map[string]network.AttachRequest
	next     byte
	dead     bool
	closed   bool
}

func (p *plugin) Done() <-chan struct{} { return p.done }

func (p *plugin) Close(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if !p.dead {
		p.dead = true
		close(p.done)
	}
	return nil
}

func (p *plugin) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
	close(p.done)
}

var errDead = &fault.Error{Reason: fault.Unavailable, Cause: errors.New("the plugin ended")}

func (p *plugin) alive() error {
	if p.dead {
		return errDead
	}
	return nil
}

func (p *plugin) Create(_ context.Context, _ string, c network.Config) (network.Info, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.config = c
	subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, 0}), 24)
	return network.Info{Name: c.Name, SubnetV4: subnet, GatewayV4: subnet.Addr().Next(), MTU: 9000}, p.alive()
}

func (p *plugin) Attach(_ context.Context, r network.AttachRequest) (network.Endpoint, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.alive(); err != nil {
		return network.Endpoint{}, err
	}
	p.attached[r.EndpointID] = r
	if !r.AddressV4.IsValid() {
		p.next++
		r.AddressV4 = netip.AddrFrom4([4]byte{10, 0, 0, p.next})
	}
	mac := r.MAC
	if mac == "" {
		mac = "02:00:00:00:00:0" + string('0'+rune(p.next))
	}
	return network.Endpoint{ID: r.EndpointID, Network: r.Network, MAC: mac, Addresses: []netip.Prefix{netip.PrefixFrom(r.AddressV4, 24)},
		Link: network.Link{UnixDatagram: &network.UnixDatagram{VMPath: "/run/a", NetworkPath: "/run/b"}}}, nil
}

func (p *plugin) Detach(_ context.Context, _, _, id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.attached, id)
	return p.alive()
}

func (p *plugin) has(id string) (network.AttachRequest, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, ok := p.attached[id]
	return r, ok
}

// plugins starts one after the other, and remembers them.
type plugins struct {
	mu      sync.Mutex
	started []*plugin
	fail    error
}

func (ps *plugins) start(context.Context) (Plugin, error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.fail != nil {
		return nil, ps.fail
	}
	// Each gives other addresses than those before, unless it is told which.
	p := &plugin{done: make(chan struct{}), attached: map[string]network.AttachRequest{}, next: byte(100 * len(ps.started))}
	ps.started = append(ps.started, p)
	return p, nil
}

func (ps *plugins) last() *plugin {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.started[len(ps.started)-1]
}

func newTestKeeper(t *testing.T, ps *plugins) *keeper {
	k, err := newKeeper(t.Context(), network.Config{Name: "net"}, ps.start, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func attachTo(t *testing.T, k *keeper, id string) network.Endpoint {
	e, err := k.Attach(t.Context(), network.AttachRequest{Network: "net", EndpointID: id})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestAnEndpointKeepsItsAddressWhenThePluginDies(t *testing.T) {
	var ps plugins
	k := newTestKeeper(t, &ps)
	before := attachTo(t, k, "web")
	ps.last().kill()
	if err := k.restart(k.running()); err != nil {
		t.Fatal(err)
	}
	asked, ok := ps.last().has("web")
	if !ok || asked.AddressV4 != before.Addresses[0].Addr() || asked.MAC != before.MAC {
		t.Errorf("the new plugin was asked for %+v, want address %v and MAC %v", asked, before.Addresses, before.MAC)
	}
}

func TestTheNetworkKeepsItsSubnetWhenThePluginDies(t *testing.T) {
	var ps plugins
	k := newTestKeeper(t, &ps)
	if c := ps.last().config; c.SubnetV4 != "" {
		t.Errorf("the first plugin was asked for subnet %q", c.SubnetV4)
	}
	ps.last().kill()
	if err := k.restart(k.running()); err != nil {
		t.Fatal(err)
	}
	if c := ps.last().config; c.SubnetV4 != "10.0.0.0/24" || c.GatewayV4 != "10.0.0.1" || c.MTU != 9000 {
		t.Errorf("the new plugin was asked for %+v", c)
	}
}

func TestACallThatMeetsADeadPluginIsMadeToANewOne(t *testing.T) {
	var ps plugins
	k := newTestKeeper(t, &ps)
	ps.last().kill()
	attachTo(t, k, "web")
	if _, ok := ps.last().has("web"); !ok || len(ps.started) != 2 {
		t.Errorf("%d plugins were started", len(ps.started))
	}
}

func TestADetachedEndpointDoesNotComeBack(t *testing.T) {
	var ps plugins
	k := newTestKeeper(t, &ps)
	attachTo(t, k, "web")
	if err := k.Detach(t.Context(), "r", "net", "web"); err != nil {
		t.Fatal(err)
	}
	first := k.running()
	ps.last().kill()
	if err := k.restart(first); err != nil {
		t.Fatal(err)
	}
	if _, ok := ps.last().has("web"); ok {
		t.Error("the new plugin was told of it")
	}
}

func TestAPluginThatEndsAllTheTimeIsGivenUp(t *testing.T) {
	var ps plugins
	k := newTestKeeper(t, &ps)
	watched := make(chan error)
	go func() { watched <- k.watch() }()
	for range restartsAllowed + 1 {
		p := k.running().(*plugin)
		p.kill()
		// The next one is there when running returns another.
		for k.running() == Plugin(p) {
			select {
			case err := <-watched:
				if !errors.Is(err, fault.Unavailable) {
					t.Errorf("error %v", err)
				}
				return
			default:
			}
		}
	}
	t.Errorf("%d plugins were started and none given up", len(ps.started))
}

func TestCloseEndsThePluginAndTheWatch(t *testing.T) {
	var ps plugins
	k := newTestKeeper(t, &ps)
	watched := make(chan error)
	go func() { watched <- k.watch() }()
	if err := k.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-watched; err != nil {
		t.Error(err)
	}
	if !ps.last().closed || len(ps.started) != 1 {
		t.Errorf("closed %t, %d started", ps.last().closed, len(ps.started))
	}
}

func TestAnotherNetworkIsNotFound(t *testing.T) {
	k := newTestKeeper(t, &plugins{})
	if _, err := k.Attach(t.Context(), network.AttachRequest{Network: "other"}); !errors.Is(err, fault.NotFound) {
		t.Errorf("error %v", err)
	}
}

func TestAnEndpointOfAPluginThatDiesBeforeItIsRememberedIsNotForgotten(t *testing.T) {
	var ps plugins
	k := newTestKeeper(t, &ps)
	first := ps.last()
	first.kill()
	if err := k.restart(first); err != nil {
		t.Fatal(err)
	}
	if k.remember(first, network.AttachRequest{Network: "net", EndpointID: "web"}, network.Endpoint{}) {
		t.Error("what a dead plugin has attached passes for attached")
	}
	attachTo(t, k, "web")
	if _, ok := ps.last().has("web"); !ok {
		t.Error("the new plugin does not know it")
	}
}
