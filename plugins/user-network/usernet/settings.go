package usernet

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"

	"github.com/vzctl/vzctl/plugins/user-network/address"
	"github.com/vzctl/vzctl/plugins/user-network/nameserver"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/network"
)

// Options of network.Config.
const (
	// OptionDNSServers lists resolvers, "address" or "address:port", separated by commas, in place of the host's.
	OptionDNSServers = "dns_servers"
	// OptionFrames bounds what an endpoint may send, in frames a second.
	OptionFrames = "frames_per_second"
	// OptionBytes bounds what an endpoint may send, in bytes a second.
	OptionBytes = "bytes_per_second"
)

const (
	// DefaultMTU is the largest that IP over Ethernet frames in datagrams carries with room to spare: fewer and larger frames are faster,
	// since each costs a trip through the hypervisor (docs/network.md has figures).
	DefaultMTU = 65000
	minMTU     = 576
	minMTUV6   = 1280 // Linux turns IPv6 off below
	maxMTU     = 65535

	noSubnet = "none" // turns a family off

	defaultFrames = 100_000
	defaultBytes  = 2 << 30
)

// settings are a network.Config that has been checked.
type settings struct {
	config network.Config
	v4, v6 address.Plan // at least one exists
	mtu    int
	dns    []netip.AddrPort // nil: the host's
	frames float64
	bytes  float64
}

var identifier = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$`)

var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// choices of subnets for a config that names none.
type choices struct{ v4, v6 func() netip.Prefix }

// check reads a config.
func check(config network.Config, choose choices) (settings, error) {
	s := settings{config: config, mtu: DefaultMTU, frames: defaultFrames, bytes: defaultBytes}
	invalid := func(cause error) (settings, error) {
		return settings{}, &fault.Error{Reason: fault.Invalid, Op: "create network", Subject: config.Name, Cause: cause}
	}
	switch {
	case !label.MatchString(config.Name):
		return invalid(errors.New("the name is not a DNS label"))
	case config.SubnetV4 == noSubnet && config.SubnetV6 == noSubnet:
		return invalid(errors.New("IPv4 and IPv6 are both turned off"))
	case config.SubnetV4 == noSubnet && config.GatewayV4 != "", config.SubnetV6 == noSubnet && config.GatewayV6 != "":
		return invalid(errors.New("a gateway is given for a family that is turned off"))
	case config.Internal && (config.AllowHostLoopback || config.AllowLAN):
		return invalid(errors.New("an internal network reaches neither host nor LAN"))
	case config.MTU != 0 && (config.MTU < minMTU || config.MTU > maxMTU):
		return invalid(fmt.Errorf("MTU %d is not between %d and %d", config.MTU, minMTU, maxMTU))
	}
	if config.MTU != 0 {
		s.mtu = int(config.MTU)
	}
	if err := s.readOptions(); err != nil {
		return invalid(err)
	}
	if err := s.readPlans(choose); err != nil {
		return invalid(err)
	}
	return s, nil
}

func (s *settings) readPlans(choose choices) (err error) {
	c := &s.config
	if s.mtu < minMTUV6 && c.SubnetV6 == "" && c.GatewayV6 == "" && c.SubnetV4 != noSubnet {
		c.SubnetV6 = noSubnet
	}
	if c.SubnetV6 != noSubnet && s.mtu < minMTUV6 {
		return fmt.Errorf("MTU %d is below the %d that IPv6 needs", s.mtu, minMTUV6)
	}
	if s.v4, err = readPlan(c.SubnetV4, c.GatewayV4, choose.v4, address.NewPlan); err != nil {
		return err
	}
	s.v6, err = readPlan(c.SubnetV6, c.GatewayV6, choose.v6, address.NewPlanV6)
	return err
}

func readPlan(subnetText, gatewayText string, choose func() netip.Prefix, plan func(netip.Prefix, netip.Addr) (address.Plan, error)) (_ address.Plan, err error) {
	var subnet netip.Prefix
	switch subnetText {
	case noSubnet:
		return address.Plan{}, nil
	case "":
		subnet = choose()
	default:
		if subnet, err = netip.ParsePrefix(subnetText); err != nil {
			return address.Plan{}, fmt.Errorf("subnet %q is not a CIDR", subnetText)
		}
	}
	var gateway netip.Addr
	if gatewayText != "" {
		if gateway, err = netip.ParseAddr(gatewayText); err != nil {
			return address.Plan{}, fmt.Errorf("gateway %q is not an address", gatewayText)
		}
	}
	return plan(subnet, gateway)
}

func (s *settings) readOptions() (err error) {
	for key, value := range s.config.Options {
		switch key {
		case OptionDNSServers:
			s.dns, err = nameserver.ParseServers(value)
		case OptionFrames:
			s.frames, err = parseRate(value)
		case OptionBytes:
			s.bytes, err = parseRate(value)
		default:
			err = errors.New("there is no such option")
		}
		if err != nil {
			return fmt.Errorf("option %q: %w", key, err)
		}
	}
	return nil
}

func parseRate(text string) (float64, error) {
	n, err := strconv.ParseUint(text, 10, 40)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a positive number", text)
	}
	return float64(n), nil
}

// plans are those of the families that the network has, IPv4 first.
func (s *settings) plans() []address.Plan {
	return slices.DeleteFunc([]address.Plan{s.v4, s.v6}, func(p address.Plan) bool { return !p.Exists() })
}

// info is the network as it came to be.
func (s *settings) info() network.Info {
	return network.Info{Name: s.config.Name, SubnetV4: s.v4.Subnet, GatewayV4: s.v4.Gateway, SubnetV6: s.v6.Subnet, GatewayV6: s.v6.Gateway,
		MTU: uint32(s.mtu), Internal: s.config.Internal}
}

// differs names what a second config of the same network wants otherwise, or "".
func (s *settings) differs(c network.Config) string {
	for _, family := range []struct {
		plan            address.Plan
		subnet, gateway string
	}{{s.v4, c.SubnetV4, c.GatewayV4}, {s.v6, c.SubnetV6, c.GatewayV6}} {
		has := noSubnet
		if family.plan.Exists() {
			has = family.plan.Subnet.String()
		}
		if family.subnet != "" && family.subnet != has {
			return "subnet " + has
		}
		if family.gateway != "" && family.gateway != family.plan.Gateway.String() {
			return "gateway " + family.plan.Gateway.String()
		}
	}
	switch {
	case c.MTU != 0 && int(c.MTU) != s.mtu:
		return fmt.Sprintf("MTU %d", s.mtu)
	case c.Internal != s.config.Internal:
		return fmt.Sprintf("internal %t", s.config.Internal)
	case c.AllowHostLoopback != s.config.AllowHostLoopback:
		return fmt.Sprintf("host loopback allowed %t", s.config.AllowHostLoopback)
	case c.AllowLAN != s.config.AllowLAN:
		return fmt.Sprintf("LAN allowed %t", s.config.AllowLAN)
	case !maps.Equal(c.Options, s.config.Options):
		return "other options"
	}
	return ""
}
