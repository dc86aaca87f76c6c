// Package fabric is the Ethernet between the ports of a network and its gateway. It learns nothing: who owns which MAC is said by [Switch.Connect],
// and the guard of a port makes sure that frames carry it. Frames given to it are at least an Ethernet header long.
package fabric

import (
	"sync"

	"github.com/vzctl/vzctl/plugins/user-network/portguard"
)

// Port takes frames. Send must neither wait nor keep the frame.
type Port interface {
	Send(frame []byte)
}

// Switch carries frames between ports.
type Switch struct {
	mu    sync.RWMutex
	ports map[portguard.MAC]Port
}

// NewSwitch returns a switch without ports.
func NewSwitch() *Switch { return &Switch{ports: map[portguard.MAC]Port{}} }

// Connect sends frames for mac to the port, and broadcasts.
func (s *Switch) Connect(mac portguard.MAC, port Port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports[mac] = port
}

// Disconnect undoes Connect. When it returns the port is sent nothing more.
func (s *Switch) Disconnect(mac portguard.MAC) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ports, mac)
}

// Forward sends a frame where its destination is: to one port, to all but the source, or nowhere.
func (s *Switch) Forward(frame []byte) {
	to, from := portguard.MAC(frame[:6]), portguard.MAC(frame[6:12])
	s.mu.RLock()
	defer s.mu.RUnlock()
	if to != portguard.Broadcast {
		if port := s.ports[to]; port != nil && to != from {
			port.Send(frame)
		}
		return
	}
	for mac, port := range s.ports {
		if mac != from {
			port.Send(frame)
		}
	}
}
