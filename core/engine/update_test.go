package engine

import (
	"errors"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/core/runtimespec"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk/fault"
)

func limits(l runtimespec.Limits) UpdateRequest { return UpdateRequest{Limits: l} }

func TestLimitsOfAContainerThatDoesNotRunAreThoseOfItsNextVM(t *testing.T) {
	for _, state := range []lifecycle.State{lifecycle.Created, lifecycle.Stopped, lifecycle.Restarting} {
		t.Run(string(state), func(t *testing.T) { nextVM(t, state) })
	}
}

func nextVM(t *testing.T, state lifecycle.State) {
	e := newEngine(t)
	c := create(t, e, "web")
	if _, err := e.store.Update(t.Context(), c.ID, func(c *store.Container) error { c.State = state; return nil }); err != nil {
		t.Fatal(err)
	}
	life, err := lock.Try(e.store.Paths().SandboxLife(c.Sandbox)) // of the supervisor that waits
	if err != nil {
		t.Fatal(err)
	}
	defer life.Close()
	if err := e.Update(t.Context(), "web", limits(runtimespec.Limits{CPUs: 3, MemoryBytes: 1 << 30, PidsLimit: 7, CPUSet: "0,2"})); err != nil {
		t.Fatal(err)
	}
	var spec specs.Spec
	if err := store.ReadJSON(e.store.Paths().ContainerSpec(c.ID), &spec); err != nil {
		t.Fatal(err)
	}
	r := spec.Linux.Resources
	if *r.CPU.Quota != 300_000 || r.CPU.Cpus != "0,2" || *r.Memory.Limit != 1<<30 || *r.Pids.Limit != 7 {
		t.Errorf("the spec has %+v, %+v, %+v", r.CPU, r.Memory, r.Pids)
	}
	record, err := e.store.Get(c.ID)
	if err != nil || record.Resources.CPUs != 3 || record.Resources.MemoryBytes != 1<<30 {
		t.Errorf("the record has %+v, %v", record.Resources, err)
	}
	if b, err := e.store.GetSandbox(record.Sandbox); err != nil || b.CPUs != 3 || b.MemoryBytes != vmMemory(1<<30) {
		t.Errorf("the VM has %d CPUs and %d bytes, %v", b.CPUs, b.MemoryBytes, err)
	}
}

func TestAnUpdateThatCannotBeChangesNothing(t *testing.T) {
	tests := map[string]struct {
		limits runtimespec.Limits
		change func(*store.Container)
		reason error
		says   string
	}{
		"too little memory":         {limits: runtimespec.Limits{MemoryBytes: 1 << 20}, reason: fault.Invalid, says: "at least 32m"},
		"CPUs that there are not":   {limits: runtimespec.Limits{PidsLimit: 5, CPUSet: "1"}, reason: fault.Invalid, says: "the VM has 1"},
		"swap below memory":         {limits: runtimespec.Limits{MemorySwap: 1 << 20}, reason: fault.Invalid, says: "less than the memory"},
		"a container that is saved": {limits: runtimespec.Limits{PidsLimit: 5}, change: func(c *store.Container) { c.Checkpoint = &store.Checkpoint{} }, reason: fault.FailedPrecondition, says: "checkpoint --remove web"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t)
			c := create(t, e, "web")
			if test.change != nil {
				change := func(c *store.Container) error { test.change(c); return nil }
				if _, err := e.store.Update(t.Context(), c.ID, change); err != nil {
					t.Fatal(err)
				}
			}
			var before, after specs.Spec
			path := e.store.Paths().ContainerSpec(c.ID)
			if err := store.ReadJSON(path, &before); err != nil {
				t.Fatal(err)
			}
			if err := e.Update(t.Context(), "web", limits(test.limits)); !errors.Is(err, test.reason) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v", err)
			}
			if err := store.ReadJSON(path, &after); err != nil || after.Linux.Resources.Pids != before.Linux.Resources.Pids {
				t.Errorf("changed to %+v, %v", after.Linux.Resources, err)
			}
		})
	}
}

func TestWhatIsLargerThanTheVMItRunsInIsRefused(t *testing.T) {
	b := store.Sandbox{CPUs: 2, MemoryBytes: vmMemory(256 << 20)}
	for says, r := range map[string]store.Resources{
		"":                           {CPUs: 2, MemoryBytes: 256 << 20},
		"memory of 257 MiB":          {CPUs: 2, MemoryBytes: 257 << 20},
		"3 CPUs are more than the 2": {CPUs: 3, MemoryBytes: 256 << 20},
	} {
		err := fits(store.Container{Name: "web", Resources: r}, b)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

func TestAContainerIsRenamedWhateverItsState(t *testing.T) {
	e := newEngine(t)
	c := create(t, e, "web")
	create(t, e, "db")
	if err := e.Rename(t.Context(), "web", "db"); !errors.Is(err, fault.AlreadyExists) {
		t.Errorf("to a name that is taken: %v", err)
	}
	if err := e.Rename(t.Context(), "web", "www"); err != nil {
		t.Fatal(err)
	}
	if found, err := e.Inspect(t.Context(), "www"); err != nil || found.ID != c.ID || found.Name != "www" {
		t.Errorf("found %+v, %v", found, err)
	}
}

func TestHowAContainerIsAskedToEnd(t *testing.T) {
	e := newEngine(t)
	seconds := 3
	r := request("web")
	r.StopSignal, r.StopSeconds = "RTMIN+1", &seconds
	if _, err := e.Create(t.Context(), r, nil); err != nil {
		t.Fatal(err)
	}
	c, err := e.store.Find("web")
	if err != nil {
		t.Fatal(err)
	}
	if signal, timeout, err := gentleStop(c, StopOptions{}); signal != 35 || timeout.Seconds() != 3 || err != nil {
		t.Errorf("signal %d, timeout %s, %v", signal, timeout, err)
	}
	now := defaultStopTimeout
	if signal, timeout, err := gentleStop(c, StopOptions{Signal: "9", Timeout: &now}); signal != 9 || timeout != now || err != nil {
		t.Errorf("signal %d, timeout %s, %v", signal, timeout, err)
	}
}

func TestTheRestartPolicyIsUpdatedAlone(t *testing.T) {
	e := newEngine(t)
	c := create(t, e, "web")
	if err := e.Update(t.Context(), "web", UpdateRequest{Restart: "on-failure:3"}); err != nil {
		t.Fatal(err)
	}
	if record, err := e.store.Get(c.ID); err != nil || record.Restart.Policy != "on-failure:3" || record.Resources.CPUs != c.CPUs {
		t.Errorf("record %+v, %v", record, err)
	}
	if err := e.Update(t.Context(), "web", UpdateRequest{Restart: "sometimes"}); !errors.Is(err, fault.Invalid) {
		t.Errorf("of no policy: %v", err)
	}
	if err := e.Update(t.Context(), "web", UpdateRequest{Restart: "no"}); err != nil {
		t.Fatal(err)
	}
	if record, err := e.store.Get(c.ID); err != nil || record.Restart.Policy != "" {
		t.Errorf("record %+v, %v", record.Restart, err)
	}
}
