//go:build !linux

package address

import "net/netip"

// hostRoutes: the addresses of the interfaces must do.
func hostRoutes() []netip.Prefix { return nil }

func hostRoutesV6() []netip.Prefix { return nil }
