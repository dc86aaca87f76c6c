package engine

import (
	"testing"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/store"
)

func TestWhoIsStartedAtBoot(t *testing.T) {
	lost := &store.Exit{Code: 137, Reason: lifecycle.ReasonLost}
	done := &store.Exit{Reason: lifecycle.ReasonExited}
	saved := &store.Exit{Code: 137, Reason: lifecycle.ReasonCheckpointed}
	ran := &store.Run{}
	for _, test := range []struct {
		name string
		c    store.Container
		want bool
	}{
		{"no policy", store.Container{State: lifecycle.Stopped, Exit: lost, Run: ran}, false},
		{"always, and lost", store.Container{State: lifecycle.Stopped, Exit: lost, Run: ran, Restart: store.Restart{Policy: "always"}}, true},
		{"always, and stopped by its user", store.Container{State: lifecycle.Stopped, Exit: done, Run: ran, Desired: store.DesiredStopped, Restart: store.Restart{Policy: "always"}}, true},
		{"always, and failed to start", store.Container{State: lifecycle.Failed, Exit: &store.Exit{Code: 125}, Run: ran, Restart: store.Restart{Policy: "always"}}, true},
		{"always, and runs", store.Container{State: lifecycle.Running, Run: ran, Restart: store.Restart{Policy: "always"}}, false},
		{"always, and waits for its start", store.Container{State: lifecycle.Restarting, Exit: lost, Run: ran, Restart: store.Restart{Policy: "always"}}, false},
		{"always, and never started", store.Container{State: lifecycle.Created, Restart: store.Restart{Policy: "always"}}, false},
		{"always, and checkpointed", store.Container{State: lifecycle.Stopped, Exit: saved, Run: ran, Restart: store.Restart{Policy: "always"}}, false},
		{"unless stopped, and lost", store.Container{State: lifecycle.Stopped, Exit: lost, Run: ran, Restart: store.Restart{Policy: "unless-stopped"}}, true},
		{"unless stopped, and stopped", store.Container{State: lifecycle.Stopped, Exit: done, Run: ran, Desired: store.DesiredStopped, Restart: store.Restart{Policy: "unless-stopped"}}, false},
		{"on failure, and lost", store.Container{State: lifecycle.Stopped, Exit: lost, Run: ran, Restart: store.Restart{Policy: "on-failure"}}, true},
		{"on failure, and done", store.Container{State: lifecycle.Stopped, Exit: done, Run: ran, Restart: store.Restart{Policy: "on-failure"}}, false},
		{"on failure, too often", store.Container{State: lifecycle.Stopped, Exit: lost, Run: ran, Restart: store.Restart{Policy: "on-failure:2", Count: 2}}, false},
	} {
		if got := startsAtBoot(test.c); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
