package network

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"

	"github.com/vzctl/vzctl/sdk/internal/convert"
	"github.com/vzctl/vzctl/sdk/internal/filltest"
)

func TestConversionsKeepEveryField(t *testing.T) {
	values := filltest.Values{
		reflect.TypeFor[netip.Addr]():   func(n int) any { return netip.MustParseAddr(fmt.Sprintf("10.0.0.%d", n%250)) },
		reflect.TypeFor[netip.Prefix](): func(n int) any { return netip.MustParsePrefix(fmt.Sprintf("fd00::%x/64", n)) },
		reflect.TypeFor[Protocol]():     func(n int) any { return []Protocol{TCP, UDP}[n%2] },
		reflect.TypeFor[EventType]():    func(n int) any { return []EventType{Attached, Detached, Violation, Uplink}[n%4] },
		reflect.TypeFor[UnixDatagram](): func(n int) any { return UnixDatagram{VMPath: "/run/a", NetworkPath: "/run/b"} },
		reflect.TypeFor[UnixStream]():   func(n int) any { return UnixStream{NetworkPath: "/run/c"} },
		reflect.TypeFor[Tap]():          func(n int) any { return Tap{Device: "tap0", NetnsPath: "/run/netns/x"} },
	}
	oneOf := []reflect.Type{reflect.TypeFor[Link]()}
	filltest.RoundTrip(t, "config", values, oneOf, func(c Config) Config { return configFromProto(configToProto(c)) })
	filltest.RoundTrip(t, "info", values, oneOf, func(i Info) Info { return infoFromProto(convert.Answer(), infoToProto(i)) })
	filltest.RoundTrip(t, "attach request", values, oneOf, func(r AttachRequest) AttachRequest { return attachFromProto(convert.Request(), attachToProto(r)) })
	filltest.RoundTrip(t, "endpoint", values, oneOf, func(e Endpoint) Endpoint { return endpointFromProto(convert.Answer(), endpointToProto(e)) })
	filltest.RoundTrip(t, "event", values, oneOf, func(e Event) Event { return eventFromProto(convert.Answer(), eventToProto(e)) })
}
