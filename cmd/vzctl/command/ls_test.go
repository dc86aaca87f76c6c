package command

import (
	"testing"

	"github.com/vzctl/vzctl/core/engine"
	"github.com/vzctl/vzctl/core/health"
)

func TestAContainerWhoseGuestDoesNotAnswerIsShownToBe(t *testing.T) {
	c := engine.Container{State: "running", Health: &engine.Health{State: health.State{Status: health.Healthy}}, Unresponsive: &engine.Unresponsive{Message: "its VM is idle"}}
	if got := state(c); got != "running (unresponsive)" {
		t.Errorf("ls shows %q", got)
	}
}
