package hypervisor

import (
	"reflect"
	"testing"

	"github.com/vzctl/vzctl/sdk/internal/convert"
	"github.com/vzctl/vzctl/sdk/internal/filltest"
	"github.com/vzctl/vzctl/sdk/network"
)

func pick[T any](list ...T) func(int) any { return func(n int) any { return list[n%len(list)] } }

func TestConversionsKeepEveryField(t *testing.T) {
	values := filltest.Values{
		reflect.TypeFor[State]():      pick(Created, Starting, Running, Paused, Stopped),
		reflect.TypeFor[ExitReason](): pick(GuestShutdown, GuestPanic, ByRequest, Crashed),
	}
	oneOf := []reflect.Type{reflect.TypeFor[Disk](), reflect.TypeFor[Device](), reflect.TypeFor[network.Link]()}
	filltest.RoundTrip(t, "spec", values, oneOf, func(s Spec) Spec { return specFromProto(specToProto(s)) })
	filltest.RoundTrip(t, "device", values, oneOf, func(d Device) Device { return deviceFromProto(deviceToProto(d)) })
	filltest.RoundTrip(t, "template", values, oneOf, func(t Template) Template { return templateFromProto(convert.Answer(), templateToProto(t)) })
	filltest.RoundTrip(t, "verified template", values, oneOf, func(v VerifiedTemplate) VerifiedTemplate { return verifiedFromProto(verifiedToProto(v)) })
	filltest.RoundTrip(t, "VM", values, oneOf, func(v VM) VM { return vmFromProto(convert.Answer(), vmToProto(v), "") })
}

func TestEveryNameIsOnTheWire(t *testing.T) {
	for _, s := range []State{Created, Starting, Running, Paused, Stopped} {
		if states.FromWire(states.ToWire(s)) != s || states.ToWire(s) == 0 {
			t.Errorf("state %q is lost", s)
		}
	}
	for _, r := range []ExitReason{GuestShutdown, GuestPanic, ByRequest, Crashed} {
		if exitReasons.FromWire(exitReasons.ToWire(r)) != r || exitReasons.ToWire(r) == 0 {
			t.Errorf("exit reason %q is lost", r)
		}
	}
	for _, m := range []StopMode{Kill, AwaitGuest} {
		if stopModes.FromWire(stopModes.ToWire(m)) != m || stopModes.ToWire(m) == 0 {
			t.Errorf("stop mode %q is lost", m)
		}
	}
}
