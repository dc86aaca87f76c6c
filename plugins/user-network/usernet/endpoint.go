package usernet

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/vzctl/vzctl/plugins/user-network/fabric"
	"github.com/vzctl/vzctl/plugins/user-network/neighbour"
	"github.com/vzctl/vzctl/plugins/user-network/port"
	"github.com/vzctl/vzctl/plugins/user-network/portguard"
	"github.com/vzctl/vzctl/sdk/network"
)

const (
	// reportEvery is how often the violations of one endpoint make an event.
	reportEvery = 5 * time.Second
	// pause is how long an endpoint above its rate is not listened to. It costs the VM, not the host, to send more.
	pause = time.Millisecond
)

// endpoint is one port of the network with what guards it.
type endpoint struct {
	info      network.Endpoint
	addresses []netip.Addr // one of each family that the network has
	mac       portguard.MAC
	port      *port.Port
	guard     portguard.Guard
	bucket    portguard.Bucket

	neighbours *neighbour.Table
	network    *fabric.Switch
	gateway    *fabric.Gateway
	gateMAC    portguard.MAC
	report     func(network.Event)

	// Of the goroutine that runs receive.
	counts   [portguard.Verdicts]uint64 // since the last report
	reported time.Time

	stop chan struct{}
	done chan struct{}
}

// receive carries the VM's frames until the port is closed. It is the only one that reads the port.
func (e *endpoint) receive() {
	defer close(e.done)
	// One byte more than allowed, so that what is too long is seen to be.
	buffer := make([]byte, portguard.EthernetHeader+e.guard.MTU+1)
	for {
		n, err := e.port.Receive(buffer)
		if err != nil {
			e.flush(time.Now())
			return
		}
		e.handle(buffer[:n], time.Now())
	}
}

func (e *endpoint) handle(frame []byte, now time.Time) {
	if !e.bucket.Take(now, len(frame)) {
		e.count(portguard.Rate, now)
		select {
		case <-time.After(pause):
		case <-e.stop:
		}
		return
	}
	verdict := e.guard.Check(frame)
	if verdict.Violation() {
		e.count(verdict, now)
	}
	if verdict == portguard.Solicitation {
		if answer := e.neighbours.Answer(frame); answer != nil {
			e.port.Send(answer)
		}
	}
	if !verdict.Passes() {
		return
	}
	if e.guard.ForGateway(frame, e.gateMAC) {
		e.gateway.Deliver(frame)
	}
	e.network.Forward(frame)
}

// count notes a violation and reports it, with those before it, unless the last report is recent.
func (e *endpoint) count(v portguard.Verdict, now time.Time) {
	e.counts[v]++
	if now.Sub(e.reported) >= reportEvery {
		e.flush(now)
	}
}

func (e *endpoint) flush(now time.Time) {
	var parts []string
	for v, n := range e.counts {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s: %d", portguard.Verdict(v), n))
		}
	}
	if len(parts) == 0 {
		return
	}
	e.counts = [portguard.Verdicts]uint64{}
	e.reported = now
	e.report(network.Event{Type: network.Violation, Endpoint: e.info, Message: strings.Join(parts, ", ")})
}

// known are the addresses that neighbours may ask for in IPv6.
func (e *endpoint) known() []netip.Addr {
	if !e.guard.V6.Address.IsValid() {
		return nil
	}
	return []netip.Addr{e.guard.V6.Address, e.guard.V6.LinkLocal}
}

// close frees the socket and waits until no frame of the VM is on its way.
func (e *endpoint) close() error {
	close(e.stop)
	err := e.port.Close()
	<-e.done
	return err
}
