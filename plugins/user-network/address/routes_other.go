//go:build !linux

package address

import "net/netip"

// hostRoutes: the addresses of the interfaces must do.
func hostRoutes() []netip.Prefix { return nil }

func routesV6() []routeV6 { return nil }
