package agent

import (
	"context"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/guest/vminitd/identity"
	"github.com/vzctl/vzctl/guest/vminitd/netconf"
	"github.com/vzctl/vzctl/guest/vminitd/phase"
	"github.com/vzctl/vzctl/guest/vminitd/power"
	"github.com/vzctl/vzctl/sdk/fault"
)

// Adopt gives the machine its identity. Randomness and time come first: a clone of a VM must not use the random numbers, nor the time, of the VM it was
// cloned from for anything that follows.
func (a *Agent) Adopt(ctx context.Context, r *guestv1.AdoptRequest) (*guestv1.AdoptResponse, error) {
	ctx, watch := phase.Watched(ctx, r.ReportPhases)
	if err := a.adopt(ctx, r); err != nil {
		return nil, err
	}
	return &guestv1.AdoptResponse{Phases: convertPhases(watch)}, nil
}

func (a *Agent) adopt(ctx context.Context, r *guestv1.AdoptRequest) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(r.Entropy) > 0 {
		if err := identity.AddEntropy(r.Entropy); err != nil {
			return adoptError("entropy", err)
		}
		if a.Drawn != nil {
			if err := a.Drawn(); err != nil {
				return adoptError("entropy", err)
			}
		}
		phase.Done(ctx, "entropy")
	}
	if r.Time != nil {
		if err := r.Time.CheckValid(); err != nil {
			return adoptError("time", err)
		}
		if err := identity.SetTime(r.Time.AsTime()); err != nil {
			return adoptError("time", err)
		}
		phase.Done(ctx, "clock")
	}
	if r.Hostname != "" {
		if err := identity.SetHostname(r.Hostname); err != nil {
			return adoptError("host name", err)
		}
		phase.Done(ctx, "host name")
	}
	interfaces := convertInterfaces(r.Interfaces)
	if err := a.network.Apply(interfaces); err != nil {
		return adoptError("interfaces", err)
	}
	phase.Done(ctx, "interfaces")
	if len(interfaces) > 0 {
		a.interfaces = interfaces
	}
	if r.Dns != nil {
		dns := netconf.DNS{Servers: r.Dns.Servers, Search: r.Dns.Search, Options: r.Dns.Options, Domain: r.Dns.Domain}
		if _, err := netconf.ResolvConf(dns); err != nil {
			return adoptError("dns", err)
		}
		a.dns = dns
		phase.Done(ctx, "dns")
	}
	return nil
}

func convertPhases(watch *phase.Watch) (phases []*guestv1.Phase) {
	for _, p := range watch.Phases() {
		phases = append(phases, &guestv1.Phase{Name: p.Name, BeginNanoseconds: uint64(p.Begin), DurationNanoseconds: uint64(p.Duration)})
	}
	return phases
}

func adoptError(what string, err error) error {
	return &fault.Error{Reason: fault.Invalid, Op: "adopt", Subject: what, Cause: err}
}

func convertInterfaces(list []*guestv1.Interface) (interfaces []netconf.Interface) {
	for _, i := range list {
		n := netconf.Interface{MAC: i.Mac, MTU: i.Mtu, Addresses: i.Addresses}
		for _, r := range i.Routes {
			n.Routes = append(n.Routes, netconf.Route{Destination: r.Destination, Gateway: r.Gateway})
		}
		interfaces = append(interfaces, n)
	}
	return interfaces
}

// files returns a container's /etc/hosts and /etc/resolv.conf where the host gives none.
func (a *Agent) files(hostname string, extra []*guestv1.Host) (hosts, resolvConf []byte, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	hosts = netconf.Hosts(hostname, a.interfaces)
	for _, h := range extra {
		line, err := netconf.HostsLine(h.Address, h.Name)
		if err != nil {
			return nil, nil, err
		}
		hosts = append(hosts, line...)
	}
	resolvConf, err = netconf.ResolvConf(a.dns)
	return hosts, resolvConf, err
}

// Shutdown ends all containers and leaves their disks clean. The machine goes off after the answer.
func (a *Agent) Shutdown(ctx context.Context, _ *guestv1.ShutdownRequest) (*guestv1.ShutdownResponse, error) {
	err := a.runtime.Close(ctx) // each container's disks are written out then
	if err != nil {
		power.Sync()
		err = &fault.Error{Reason: fault.Internal, Op: "shut down", Cause: err}
	}
	a.down.Do(func() { close(a.shutdown) })
	return &guestv1.ShutdownResponse{}, err
}
