package agent

import (
	"fmt"
	"slices"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

// Greeting is what a guest says of itself. Guests of one init image and one kernel say the same.
type Greeting struct {
	Version     string   `json:"version"` // of vminitd, for people
	ProtocolMin uint32   `json:"protocolMin"`
	ProtocolMax uint32   `json:"protocolMax"`
	Features    []string `json:"features"` // optional abilities
}

// What is taken of a greeting: so many abilities, and so many bytes of a text.
const (
	maxFeatures     = 128
	maxGreetingText = 80
)

func greetingOf(answer *guestv1.HelloResponse) Greeting {
	g := Greeting{Version: bounded(answer.Version, maxGreetingText), ProtocolMin: answer.ProtocolMin, ProtocolMax: answer.ProtocolMax}
	for _, feature := range answer.Features[:min(len(answer.Features), maxFeatures)] {
		if len(feature) <= maxGreetingText { // no host knows a longer one
			g.Features = append(g.Features, feature)
		}
	}
	return g
}

// Offers reports whether the guest has an optional ability.
func (g Greeting) Offers(feature string) bool { return slices.Contains(g.Features, feature) }

// Equal reports whether two greetings say the same.
func (g Greeting) Equal(other Greeting) bool {
	return g.Version == other.Version && g.ProtocolMin == other.ProtocolMin && g.ProtocolMax == other.ProtocolMax && slices.Equal(g.Features, other.Features)
}

// check refuses a guest of another protocol.
func (g Greeting) check() error {
	if g.ProtocolMin <= protocolMax && g.ProtocolMax >= protocolMin {
		return nil
	}
	return &fault.Error{Reason: fault.FailedPrecondition, Op: "speak to the guest's agent", Subject: g.Version,
		Cause: fmt.Errorf("it speaks protocol %d to %d, this host %d to %d", g.ProtocolMin, g.ProtocolMax, protocolMin, protocolMax),
		Hint:  "install a vzctl and an init image of the same release"}
}
