package engine

import (
	"errors"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/sdk/fault"
)

func TestVMsInTheVMAreForHypervisorsThatOfferThem(t *testing.T) {
	r := request("web")
	r.Nested = true
	e := newEngine(t)
	if _, err := e.Create(t.Context(), r, nil); !errors.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), "nested-virtualization") || !strings.Contains(err.Error(), "leave --nested out") {
		t.Errorf("error %v", err)
	}
	if left, err := e.List(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	t.Setenv(script, "nested")
	e = newEngine(t)
	c, err := e.Create(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := e.store.GetSandbox(c.Sandbox); err != nil || !b.Nested {
		t.Errorf("the VM's record has nested=%v, %v", b.Nested, err)
	}
}
