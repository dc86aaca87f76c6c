// Package netd is the daemon of one network in use, and how supervisors use it. Plugins have one parent each, so what sandboxes share is shared at a process of the
// core: netd starts with the first lease, owns the network plugin, starts it again when it dies, and leaves after the last lease and a grace.
//
// keeper.go is the network that outlives its plugin, leases.go counts who holds it, daemon.go is the process, lease.go the client.
package netd
