package usernet

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
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
	// DefaultMTU is the largest that IPv4 over Ethernet frames in datagrams carries with room to spare: fewer and larger frames are faster,
	// since each costs a trip through the hypervisor (docs/network.md has figures).
	DefaultMTU = 65000
	minMTU     = 576
	maxMTU     = 65535

	defaultFrames = 100_000
	defaultBytes  = 2 << 30
)

// settings are a network.Config that has been checked.
type settings struct {
	config network.Config
	plan   address.Plan
	mtu    int
	dns    []netip.AddrPort // nil: the host's
	frames float64
	bytes  float64
}

var identifier = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$`)

var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// check reads a config. The subnet is chosen by choose if it names none.
func check(config network.Config, choose func() netip.Prefix) (settings, error) {
	s := settings{config: config, mtu: DefaultMTU, frames: defaultFrames, bytes: defaultBytes}
	fail := func(reason fault.Reason, cause error, hint string) (settings, error) {
		return settings{}, &fault.Error{Reason: reason, Op: "create network", Subject: config.Name, Cause: cause, Hint: hint}
	}
	invalid := func(cause error) (settings, error) { return fail(fault.Invalid, cause, "") }
	switch {
	case !label.MatchString(config.Name):
		return invalid(errors.New("the name is not a DNS label"))
	case config.SubnetV6 != "" && config.SubnetV6 != "none", config.GatewayV6 != "":
		return fail(fault.Unsupported, errors.New("user-network has no IPv6"), "leave the IPv6 subnet out or set it to \"none\"")
	case config.SubnetV4 == "none":
		return fail(fault.Unsupported, errors.New("user-network has only IPv4, which is turned off"), "leave the IPv4 subnet out")
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
	if err := s.readPlan(choose); err != nil {
		return invalid(err)
	}
	return s, nil
}

func (s *settings) readPlan(choose func() netip.Prefix) (err error) {
	var subnet netip.Prefix
	if s.config.SubnetV4 == "" {
		subnet = choose()
	} else if subnet, err = netip.ParsePrefix(s.config.SubnetV4); err != nil {
		return fmt.Errorf("subnet %q is not a CIDR", s.config.SubnetV4)
	}
	var gateway netip.Addr
	if s.config.GatewayV4 != "" {
		if gateway, err = netip.ParseAddr(s.config.GatewayV4); err != nil {
			return fmt.Errorf("gateway %q is not an address", s.config.GatewayV4)
		}
	}
	s.plan, err = address.NewPlan(subnet, gateway)
	return err
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

// info is the network as it came to be.
func (s *settings) info() network.Info {
	return network.Info{Name: s.config.Name, SubnetV4: s.plan.Subnet, GatewayV4: s.plan.Gateway, MTU: uint32(s.mtu), Internal: s.config.Internal}
}

// differs names what a second config of the same network wants otherwise, or "".
func (s *settings) differs(c network.Config) string {
	switch {
	case c.SubnetV4 != "" && c.SubnetV4 != s.plan.Subnet.String():
		return "subnet " + s.plan.Subnet.String()
	case c.GatewayV4 != "" && c.GatewayV4 != s.plan.Gateway.String():
		return "gateway " + s.plan.Gateway.String()
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
