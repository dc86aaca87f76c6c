package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/network"
)

// NetworkFixture changes how networks are made.
type NetworkFixture struct {
	// SubnetV4 of the network under test; empty: 192.168.97.0/24.
	SubnetV4 string
	Options  map[string]string
}

func networkCases() []Case {
	return []Case{
		{Name: "create gives a subnet with a gateway in it, the same each time", Run: networkCreate},
		{Name: "create refuses what can never be", Run: networkBadConfigs},
		{Name: "delete of a network that does not exist succeeds, other calls about it are not found", Run: networkUnknown},
		{Name: "an endpoint has an address of the subnet, a MAC and a link in the given directory", Run: networkAttach},
		{Name: "two endpoints differ in everything", Run: networkTwoEndpoints},
		{Name: "attach again gives the same endpoint", Run: networkAttachAgain},
		{Name: "a new process gives an endpoint back what it had", Run: networkReplay},
		{Name: "an address is given once, and only one of the subnet", Run: networkAddresses},
		{Name: "detach frees the address and may be repeated", Run: networkDetach},
		{Name: "a network with endpoints is in use", Run: networkInUse},
		{Name: "many endpoints attach at once and all differ", Run: networkMany},
		{Name: "watch tells of endpoints and ends when the caller leaves", Run: networkWatch},
		{Name: "what is not offered is unsupported", Run: networkOptional},
	}
}

func networks(env *Env) *network.Client {
	return network.NewClient(env.Process.Conn(), env.Process.Info())
}

func (e *Env) config() (network.Config, error) {
	c := network.Config{Name: "net", SubnetV4: "192.168.97.0/24", SubnetV6: "none", RuntimeDir: filepath.Join(e.RuntimeDir, "n")}
	if f := e.Fixture.Network; f != nil {
		c.Options = f.Options
		if f.SubnetV4 != "" {
			c.SubnetV4 = f.SubnetV4
		}
	}
	var err error
	if c.StateDir, err = e.subdir("state"); err != nil {
		return c, err
	}
	return c, os.MkdirAll(c.RuntimeDir, 0o700)
}

// network makes the network under test.
func (e *Env) network(ctx context.Context) (network.Info, error) {
	c, err := e.config()
	if err != nil {
		return network.Info{}, err
	}
	info, err := networks(e).Create(ctx, "create", c)
	if errors.Is(err, fault.PermissionDenied) {
		return info, NotRun{Reason: "the plugin needs privileges: " + err.Error()}
	}
	return info, err
}

func (e *Env) attachRequest(id string) (network.AttachRequest, error) {
	dir := filepath.Join(e.RuntimeDir, "l-"+id)
	return network.AttachRequest{
		RequestID: "attach-" + id, Network: "net", EndpointID: id, LinkDir: dir,
		LinkTypes: []string{network.LinkUnixDatagram, network.LinkTap, network.LinkUnixStream, network.LinkVZNAT},
	}, os.MkdirAll(dir, 0o700)
}

func (e *Env) attach(ctx context.Context, id string) (network.Endpoint, error) {
	r, err := e.attachRequest(id)
	if err != nil {
		return network.Endpoint{}, err
	}
	return networks(e).Attach(ctx, r)
}

// leave detaches endpoints, deletes the network, and looks for what is left.
func (e *Env) leave(ctx context.Context, ids ...string) error {
	for _, id := range ids {
		if err := networks(e).Detach(ctx, "detach-"+id, "net", id); err != nil {
			return err
		}
		dir := filepath.Join(e.RuntimeDir, "l-"+id)
		left, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		if len(left) > 0 {
			return fmt.Errorf("detach left %q", left[0].Name())
		}
		if err := os.Remove(dir); err != nil {
			return err
		}
	}
	if err := networks(e).Delete(ctx, "delete", "net"); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(e.RuntimeDir, "n")); err != nil {
		return fmt.Errorf("delete left something in the runtime directory: %w", err)
	}
	return nil
}

func networkCreate(ctx context.Context, env *Env) error {
	first, err := env.network(ctx)
	if err != nil {
		return err
	}
	if !first.SubnetV4.IsValid() || !first.SubnetV4.Contains(first.GatewayV4) {
		return fmt.Errorf("gateway %v of subnet %v", first.GatewayV4, first.SubnetV4)
	}
	second, err := env.network(ctx)
	if err != nil || second != first {
		return wrong(err, "first %+v, then %+v", first, second)
	}
	if list, err := networks(env).List(ctx); err != nil || len(list) != 1 || list[0] != first {
		return wrong(err, "list is %+v", list)
	}
	return env.leave(ctx)
}

func networkBadConfigs(ctx context.Context, env *Env) error {
	good, err := env.config()
	if err != nil {
		return err
	}
	defer os.Remove(good.RuntimeDir)
	for what, change := range map[string]func(*network.Config){
		"no name":                       func(c *network.Config) { c.Name = "" },
		"a name that is no label":       func(c *network.Config) { c.Name = "../net" },
		"a name of 64 letters":          func(c *network.Config) { c.Name = strings.Repeat("n", 64) },
		"a subnet that is none":         func(c *network.Config) { c.SubnetV4 = "192.168.97" },
		"a subnet of the other family":  func(c *network.Config) { c.SubnetV4 = "fd00::/64" },
		"a gateway outside its subnet":  func(c *network.Config) { c.GatewayV4 = "10.9.9.9" },
		"a subnet too small for anyone": func(c *network.Config) { c.SubnetV4 = "192.168.97.0/32" },
	} {
		c := good
		change(&c)
		_, got := networks(env).Create(ctx, "r-"+what, c)
		if errors.Is(got, fault.PermissionDenied) {
			return NotRun{Reason: "the plugin needs privileges: " + got.Error()}
		}
		err = errors.Join(err, wantReason("create with "+what, got, fault.Invalid))
	}
	return err
}

func networkUnknown(ctx context.Context, env *Env) error {
	_, attach := networks(env).Attach(ctx, network.AttachRequest{RequestID: "r", Network: "nobody", EndpointID: "e", LinkTypes: []string{network.LinkUnixDatagram}, LinkDir: env.RuntimeDir})
	_, list := networks(env).ListEndpoints(ctx, "nobody")
	return errors.Join(
		networks(env).Delete(ctx, "r", "nobody"), networks(env).Detach(ctx, "r", "nobody", "e"),
		wantReason("attach", attach, fault.NotFound), wantReason("list endpoints", list, fault.NotFound),
		wantReason("watch", networks(env).Watch(ctx, "nobody", func(network.Event) {}), fault.NotFound),
	)
}

func networkOptional(ctx context.Context, env *Env) error {
	info := env.Process.Info()
	_, publish := networks(env).Publish(ctx, "nobody", "e", nil)
	for feature, err := range map[string]error{network.FeaturePublish: publish, network.FeatureNames: networks(env).SetNames(ctx, "nobody", "e", nil)} {
		want := fault.Unsupported
		if info.Offers(network.CapabilityFeature, feature) {
			want = fault.NotFound
		}
		if err := wantReason(feature, err, want); err != nil {
			return err
		}
	}
	return nil
}
