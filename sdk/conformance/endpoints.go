package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hostpath"
	"github.com/vzctl/vzctl/sdk/network"
)

func checkEndpoint(info network.Info, e network.Endpoint, linkDir string) error {
	if len(e.Addresses) == 0 {
		return errors.New("it has no address")
	}
	a := e.Addresses[0]
	hw, err := net.ParseMAC(e.MAC)
	switch {
	case !info.SubnetV4.Contains(a.Addr()) || a.Addr() == info.GatewayV4 || a.Bits() != info.SubnetV4.Bits():
		return fmt.Errorf("its address %v does not fit subnet %v with gateway %v", a, info.SubnetV4, info.GatewayV4)
	case err != nil || hw[0]&1 != 0:
		return fmt.Errorf("its MAC is %q", e.MAC)
	case e.MTU == 0:
		return errors.New("it has no MTU")
	}
	if d := e.Link.UnixDatagram; d != nil {
		return errors.Join(hostpath.Socket(linkDir, d.NetworkPath), hostpath.Within(linkDir, d.VMPath))
	}
	if s := e.Link.UnixStream; s != nil {
		return hostpath.Socket(linkDir, s.NetworkPath)
	}
	return nil
}

func networkAttach(ctx context.Context, env *Env) error {
	info, err := env.network(ctx)
	if err != nil {
		return err
	}
	r, err := env.attachRequest("a")
	if err != nil {
		return err
	}
	e, err := networks(env).Attach(ctx, r)
	if err != nil {
		return err
	}
	if err := checkEndpoint(info, e, r.LinkDir); err != nil {
		return err
	}
	if list, err := networks(env).ListEndpoints(ctx, "net"); err != nil || len(list) != 1 || list[0].ID != "a" {
		return wrong(err, "endpoints are %+v", list)
	}
	for _, id := range []string{"", "../a", strings.Repeat("x", 65)} {
		bad := r
		bad.EndpointID = id
		_, got := networks(env).Attach(ctx, bad)
		err = errors.Join(err, wantReason(fmt.Sprintf("attach of %q", id), got, fault.Invalid))
	}
	none := r
	none.EndpointID, none.LinkTypes = "b", []string{"carrier-pigeon"}
	_, got := networks(env).Attach(ctx, none)
	return errors.Join(err, wantReason("attach by a link nobody has", got, fault.Unsupported, fault.Invalid), env.leave(ctx, "a"))
}

func networkTwoEndpoints(ctx context.Context, env *Env) error {
	if _, err := env.network(ctx); err != nil {
		return err
	}
	a, err := env.attach(ctx, "a")
	if err != nil {
		return err
	}
	b, err := env.attach(ctx, "b")
	if err != nil {
		return err
	}
	if a.Addresses[0] == b.Addresses[0] || a.MAC == b.MAC {
		return fmt.Errorf("both have %v or %v", a.Addresses, a.MAC)
	}
	return env.leave(ctx, "a", "b")
}

func networkAttachAgain(ctx context.Context, env *Env) error {
	if _, err := env.network(ctx); err != nil {
		return err
	}
	a, err := env.attach(ctx, "a")
	if err != nil {
		return err
	}
	again, err := env.attach(ctx, "a")
	if err != nil {
		return err
	}
	if again.Addresses[0] != a.Addresses[0] || again.MAC != a.MAC {
		return fmt.Errorf("first %v %s, then %v %s", a.Addresses, a.MAC, again.Addresses, again.MAC)
	}
	return env.leave(ctx, "a")
}

func networkReplay(ctx context.Context, env *Env) error {
	if _, err := env.network(ctx); err != nil {
		return err
	}
	a, err := env.attach(ctx, "a")
	if err != nil {
		return err
	}
	b, err := env.attach(ctx, "b")
	if err != nil {
		return err
	}
	if err := env.restart(ctx); err != nil {
		return err
	}
	if _, err := env.network(ctx); err != nil {
		return err
	}
	for _, old := range []network.Endpoint{b, a} { // not in the order of the first time
		r, err := env.attachRequest(old.ID)
		if err != nil {
			return err
		}
		r.AddressV4, r.MAC = old.Addresses[0].Addr(), old.MAC
		e, err := networks(env).Attach(ctx, r)
		if err != nil {
			return err
		}
		if e.Addresses[0] != old.Addresses[0] || e.MAC != old.MAC {
			return fmt.Errorf("endpoint %q had %v %s and has %v %s", old.ID, old.Addresses, old.MAC, e.Addresses, e.MAC)
		}
	}
	return env.leave(ctx, "a", "b")
}

// attachAt attaches an endpoint that asks for an address, of either family.
func (e *Env) attachAt(ctx context.Context, id string, address netip.Addr) error {
	r, err := e.attachRequest(id)
	if err != nil {
		return err
	}
	if address.Is4() {
		r.AddressV4 = address
	} else {
		r.AddressV6 = address
	}
	_, err = networks(e).Attach(ctx, r)
	return err
}

func networkAddresses(ctx context.Context, env *Env) error {
	info, err := env.network(ctx)
	if err != nil {
		return err
	}
	a, err := env.attach(ctx, "a")
	if err != nil {
		return err
	}
	ask := func(address netip.Addr) error { return env.attachAt(ctx, "b", address) }
	return errors.Join(
		wantReason("attach with a taken address", ask(a.Addresses[0].Addr()), fault.AlreadyExists),
		wantReason("attach with the gateway's address", ask(info.GatewayV4), fault.AlreadyExists, fault.Invalid),
		wantReason("attach with an address of elsewhere", ask(netip.MustParseAddr("203.0.113.7")), fault.Invalid),
		env.leave(ctx, "a", "b"),
	)
}

func networkDetach(ctx context.Context, env *Env) error {
	if _, err := env.network(ctx); err != nil {
		return err
	}
	a, err := env.attach(ctx, "a")
	if err != nil {
		return err
	}
	for range 2 {
		if err := networks(env).Detach(ctx, "d", "net", "a"); err != nil {
			return err
		}
	}
	r, err := env.attachRequest("b")
	if err != nil {
		return err
	}
	r.AddressV4 = a.Addresses[0].Addr()
	if _, err := networks(env).Attach(ctx, r); err != nil {
		return fmt.Errorf("the address is not free: %w", err)
	}
	return env.leave(ctx, "a", "b")
}

func networkInUse(ctx context.Context, env *Env) error {
	if _, err := env.network(ctx); err != nil {
		return err
	}
	if _, err := env.attach(ctx, "a"); err != nil {
		return err
	}
	return errors.Join(wantReason("delete", networks(env).Delete(ctx, "r", "net"), fault.InUse), env.leave(ctx, "a"))
}

func networkMany(ctx context.Context, env *Env) error {
	if _, err := env.network(ctx); err != nil {
		return err
	}
	var mu sync.Mutex
	addresses, macs := map[netip.Prefix]bool{}, map[string]bool{}
	group, attaching := errgroup.WithContext(ctx)
	var ids []string
	for i := range 16 {
		id := "e" + strconv.Itoa(i)
		ids = append(ids, id)
		group.Go(func() error {
			e, err := env.attach(attaching, id)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			addresses[e.Addresses[0]], macs[e.MAC] = true, true
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if len(addresses) != 16 || len(macs) != 16 {
		return fmt.Errorf("16 endpoints have %d addresses and %d MACs", len(addresses), len(macs))
	}
	return env.leave(ctx, ids...)
}

func networkWatch(ctx context.Context, env *Env) error {
	if _, err := env.network(ctx); err != nil {
		return err
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	events := make(chan network.Event, 64)
	ended := make(chan error, 1)
	go func() { ended <- networks(env).Watch(watching, "net", func(e network.Event) { events <- e }) }()
	// A watch begins at some time after the call: attach until one is told of.
	for i := 0; ; i++ {
		id := "w" + strconv.Itoa(i)
		if _, err := env.attach(ctx, id); err != nil {
			return err
		}
		if told(events, id) {
			break
		}
		if i == 50 {
			return errors.New("watch told of no endpoint")
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		return wrong(err, "watch did not end as cancelled")
	}
	list, err := networks(env).ListEndpoints(ctx, "net")
	if err != nil {
		return err
	}
	var ids []string
	for _, e := range list {
		ids = append(ids, e.ID)
	}
	return env.leave(ctx, ids...)
}
