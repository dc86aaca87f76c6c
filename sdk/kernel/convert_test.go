package kernel

import (
	"testing"

	"github.com/vzctl/vzctl/sdk/internal/convert"
	"github.com/vzctl/vzctl/sdk/internal/filltest"
)

func TestConversionsKeepEveryField(t *testing.T) {
	filltest.RoundTrip(t, "kernel", nil, nil, func(k Kernel) Kernel { return kernelFromProto(convert.Answer(), kernelToProto(k)) })
	filltest.RoundTrip(t, "ensure request", nil, nil, func(r EnsureRequest) EnsureRequest { return ensureFromProto(ensureToProto(r)) })
}
