// Package port names the ports that the test guest serves, and what it says first.
package port

// FirstLine is what the guest says first on its console.
const FirstLine = "vzctl-test: guest is up"

// Ports of the guest, and Ready of the host.
const (
	Echo    = 1 // sends back what it reads
	Sink    = 2 // reads to the end, then answers "<bytes> <error>"
	Source  = 3 // after a line with a number sends so many bytes
	Silent  = 4 // neither reads nor writes
	Control = 5 // commands by line, see control in package main of the guest
	Ready   = 1024
)
