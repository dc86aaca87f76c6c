// Package convert has what the kinds' conversions between Go and protobuf share.
package convert

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/vzctl/vzctl/sdk/fault"
)

// maxSocketPath is what a socket address holds on every system we run on.
const maxSocketPath = 103

// Slice converts each element. Nil and empty give nil, as protobuf does.
func Slice[A, B any](list []A, one func(A) B) []B {
	if len(list) == 0 {
		return nil
	}
	out := make([]B, len(list))
	for i, a := range list {
		out[i] = one(a)
	}
	return out
}

// Enum is a table of names in Go and on the wire. What is not in it becomes the zero value.
type Enum[G, W comparable] map[G]W

// ToWire converts a name.
func (e Enum[G, W]) ToWire(g G) W { return e[g] }

// FromWire converts a name.
func (e Enum[G, W]) FromWire(w W) (g G) {
	for name, wire := range e {
		if wire == w {
			return name
		}
	}
	return g
}

// Malformed is the error about what a plugin answered.
func Malformed(what string, value any, why string) error {
	return &fault.Error{Reason: fault.Internal, Cause: fmt.Errorf("the plugin answered %s %q, %s", what, fmt.Sprint(value), why), Hint: "this is a fault of the plugin"}
}

// Checks collects what is wrong with a message, so that conversions read as lists. One for what a host asks: errors are fault.Invalid; see [Request].
// One for what a plugin answers: errors are fault.Internal; see [Answer].
type Checks struct {
	wrap func(what, value, why string) error
	errs []error
}

// Answer checks what a plugin answered.
func Answer() *Checks {
	return &Checks{wrap: func(what, value, why string) error { return Malformed(what, value, why) }}
}

// Request checks what a host asked.
func Request() *Checks {
	return &Checks{wrap: func(what, value, why string) error {
		return &fault.Error{Reason: fault.Invalid, Cause: fmt.Errorf("%s %q %s", what, value, why)}
	}}
}

// Err returns the first error.
func (c *Checks) Err() error {
	if len(c.errs) == 0 {
		return nil
	}
	return c.errs[0]
}

// Fail notes that a value is wrong.
func (c *Checks) Fail(what, value, why string) { c.errs = append(c.errs, c.wrap(what, value, why)) }

// Path returns p, which must be absolute, clean, and without NUL.
func (c *Checks) Path(what, p string) string {
	if !filepath.IsAbs(p) || filepath.Clean(p) != p || strings.ContainsRune(p, 0) {
		c.Fail(what, p, "which is no absolute, clean path")
	}
	return p
}

// Socket returns p, which must be a path short enough for a socket.
func (c *Checks) Socket(what, p string) string {
	if len(p) > maxSocketPath {
		c.Fail(what, p, fmt.Sprintf("which is longer than the %d bytes a socket's path may have", maxSocketPath))
	}
	return c.Path(what, p)
}

// Addr parses an IP address; empty gives the invalid one.
func (c *Checks) Addr(what, text string) netip.Addr {
	if text == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		c.Fail(what, text, "which is no IP address")
	}
	return a
}

// Prefix parses an address with its prefix length; empty gives the invalid one.
func (c *Checks) Prefix(what, text string) netip.Prefix {
	if text == "" {
		return netip.Prefix{}
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		c.Fail(what, text, "which is no IP prefix")
	}
	return p
}

// MAC returns text, which must be empty or six bytes, unicast.
func (c *Checks) MAC(what, text string) string {
	if text == "" {
		return ""
	}
	if hw, err := net.ParseMAC(text); err != nil || len(hw) != 6 || hw[0]&1 != 0 {
		c.Fail(what, text, "which is no unicast MAC address")
	}
	return text
}

// Port returns n, which must fit a port.
func (c *Checks) Port(what string, n uint32) uint16 {
	if n > 65535 {
		c.Fail(what, fmt.Sprint(n), "which is no port")
		return 0
	}
	return uint16(n)
}

// AddrText is the text of an address; empty if it is not valid.
func AddrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// PrefixText is the text of a prefix; empty if it is not valid.
func PrefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

// Missing is the error about an optional call that an implementation does not offer.
func Missing(op, capability string) error {
	return &fault.Error{Reason: fault.Unsupported, Op: op, Cause: errors.New("this plugin does not offer it"), Hint: fmt.Sprintf("choose a plugin with %s; \"vzctl plugin inspect\" shows what each offers", capability)}
}
