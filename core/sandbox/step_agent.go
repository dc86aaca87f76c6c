package sandbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/vzctl/vzctl/core/steps"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hostpath"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/network"
)

// agentShutdown is how long a guest may take to kill, unmount and sync. What it has not written out by then is lost; on a slow disk of the host that may be much.
const agentShutdown = 45 * time.Second

// agentClose is how long it may take to close the connection after that.
const agentClose = 5 * time.Second

// endAfterAgent is how much later than the loss of its agent the end of a VM, which says more, may be known.
const endAfterAgent = time.Second

// Names of the steps that make a call of the guest.
const (
	agentStepName     = "agent"
	adoptStepName     = "adopt"
	containerStepName = "container"
	processStepName   = "process"
)

// agentStep connects to vminitd, waiting for the VM to boot; a VM that ends meanwhile ends the wait with its last words.
func (s *Sandbox) agentStep(needs ...string) steps.Step {
	return steps.Step{Name: agentStepName, Needs: needs, UndoTimeout: s.shutdownPatience + agentClose,
		Do: func(ctx context.Context) error {
			ctx, cancel := context.WithCancelCause(ctx)
			ctx, stop := context.WithTimeoutCause(ctx, guestBoot, errors.New("the guest did not boot in time; vzctl logs --boot shows its console"))
			defer stop()
			var watching sync.WaitGroup
			defer watching.Wait()
			defer cancel(nil)
			watching.Go(func() {
				err := s.hypervisor.Watch(ctx, s.spec.VirtualMachineID, func(vm hypervisor.VM) {
					if vm.State == hypervisor.Stopped {
						cancel(vmEnded("while booting", vm.Exit))
					}
				})
				if err != nil && ctx.Err() == nil {
					cancel(err)
				}
			})
			// The plugin says where the socket is; nothing but a socket of this sandbox is spoken to.
			if err := hostpath.Socket(s.spec.RuntimeDir, s.vm.VsockPath); err != nil {
				return err
			}
			guest, err := s.env.Dial(ctx, s.vm.VsockPath, s.vm.Cloned && s.spec.Restore == nil)
			if err != nil {
				select {
				case <-ctx.Done():
					return context.Cause(ctx)
				case <-time.After(endAfterAgent):
					return err
				}
			}
			s.guest = guest
			return nil
		},
		Undo: func(ctx context.Context) error {
			patience, cancel := context.WithTimeout(ctx, s.shutdownPatience)
			defer cancel()
			// Nothing of a discarded sandbox is read again: pulling the plug loses nothing, and is quick.
			if !s.vmGone() && !s.unplugged() {
				if _, err := s.guest.Shutdown(patience, &guestv1.ShutdownRequest{}); err != nil {
					s.env.Logger.Warn("the guest does not shut down", "error", err)
					s.shutDownErr = err
				} else {
					s.shutDown = true
				}
			}
			return s.guest.Close()
		},
	}
}

// unanswered returns why a guest has not answered a call, which may be the first: the end of its VM says more than the loss of its agent, and may be known a little
// later. Who does not answer is not asked to shut down. Errors that the guest has answered with, and the end of ctx, are returned as they are.
func (s *Sandbox) unanswered(ctx context.Context, err error) error {
	if !errors.Is(err, fault.Unavailable) || errors.Is(ctx.Err(), context.Canceled) {
		return err
	}
	s.setGone()
	if ctx.Err() != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, endAfterAgent)
	defer cancel()
	var ended error
	watchErr := s.hypervisor.Watch(ctx, s.spec.VirtualMachineID, func(vm hypervisor.VM) {
		if vm.State == hypervisor.Stopped {
			ended = vmEnded("before its guest answered", vm.Exit)
			cancel()
		}
	})
	switch {
	case ended != nil:
		return ended
	case watchErr != nil && ctx.Err() == nil: // the plugin has ended, and its VMs with it
		return watchErr
	}
	return err
}

// vmEnded says how a VM ended.
func vmEnded(when string, exit *hypervisor.Exit) error {
	if exit == nil {
		return fmt.Errorf("the VM ended %s", when)
	}
	if exit.Message != "" {
		return fmt.Errorf("the VM ended %s (%s): %s", when, exit.Reason, exit.Message)
	}
	return fmt.Errorf("the VM ended %s (%s)", when, exit.Reason)
}

const entropyBytes = 64

// adoptStep gives the booted VM its identity.
func (s *Sandbox) adoptStep(needs ...string) steps.Step {
	return steps.Step{Name: adoptStepName, Needs: needs, Do: func(ctx context.Context) error { return s.adopt(ctx) }}
}

// adopt may be done again: a VM that stood still has the time, and the random state, of before.
func (s *Sandbox) adopt(ctx context.Context, options ...grpc.CallOption) error {
	request, err := s.identity()
	if err != nil {
		return err
	}
	begun := time.Now()
	answer, err := s.guest.Adopt(ctx, request, options...)
	if err != nil {
		return fmt.Errorf("give the VM its identity: %w", err)
	}
	s.told(adoptStepName, answer.GetPhases(), begun)
	return nil
}

// identity is what a VM is to adopt now.
func (s *Sandbox) identity() (*guestv1.AdoptRequest, error) {
	entropy := make([]byte, entropyBytes)
	if _, err := rand.Read(entropy); err != nil {
		return nil, err
	}
	request := &guestv1.AdoptRequest{Entropy: entropy, Hostname: s.spec.Hostname, ReportPhases: s.spec.Timed}
	if s.lease != nil {
		e := s.lease.Endpoint()
		request.Interfaces = []*guestv1.Interface{guestInterface(e)}
		request.Dns = guestDNS(e.DNS)
	}
	request.Dns = chosenDNS(request.Dns, s.spec.DNS)
	request.Time = timestamppb.Now()
	return request, nil
}

func guestInterface(e network.Endpoint) *guestv1.Interface {
	i := &guestv1.Interface{Mac: e.MAC, Mtu: e.MTU}
	for _, a := range e.Addresses {
		i.Addresses = append(i.Addresses, a.String())
	}
	for _, r := range e.Routes {
		route := &guestv1.Route{Destination: r.Destination.String()}
		if r.Gateway.IsValid() {
			route.Gateway = r.Gateway.String()
		}
		i.Routes = append(i.Routes, route)
	}
	return i
}

// chosenDNS puts what the user chose in place of what the network says.
func chosenDNS(dns *guestv1.Dns, chosen network.DNS) *guestv1.Dns {
	if len(chosen.Servers)+len(chosen.Search)+len(chosen.Options) == 0 {
		return dns
	}
	own := guestDNS(chosen)
	if dns == nil {
		return own
	}
	if len(own.Servers) > 0 {
		dns.Servers = own.Servers
	}
	if len(own.Search) > 0 {
		dns.Search, dns.Domain = own.Search, ""
	}
	if len(own.Options) > 0 {
		dns.Options = own.Options
	}
	return dns
}

func guestDNS(d network.DNS) *guestv1.Dns {
	dns := &guestv1.Dns{Search: d.Search, Options: d.Options, Domain: d.Domain}
	for _, s := range d.Servers {
		dns.Servers = append(dns.Servers, s.String())
	}
	return dns
}
