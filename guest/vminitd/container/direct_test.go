package container

import (
	"context"
	"errors"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestOneWhoIntrudesWaitsForThoseThatAreBeingMadeAndNoMoreAreMade(t *testing.T) {
	intruder := &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_SYS_ADMIN"}}}
	var d direct
	if err := d.guard(t.Context(), &specs.Process{}); err != nil || !d.begin() || !d.begin() {
		t.Fatal("two cannot be made:", err)
	}
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.guard(impatient, intruder); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who has gone: %v", err)
	}
	if d.begin() {
		t.Error("one more is made")
	}
	waited := make(chan error, 1)
	go func() { waited <- d.guard(t.Context(), intruder) }()
	d.end()
	select {
	case err := <-waited:
		t.Errorf("it has not waited for the second: %v", err)
	default:
	}
	d.end()
	if err := <-waited; err != nil {
		t.Error(err)
	}
	if err := d.guard(t.Context(), intruder); err != nil {
		t.Error(err)
	}
}
