package hypervisor_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/plugintest"
	"github.com/vzctl/vzctl/sdk/progress"
)

func vm(state hypervisor.State) hypervisor.VM {
	return hypervisor.VM{ID: "vm", State: state, VsockPath: "/run/vm.sock"}
}

func dial(t *testing.T, impl hypervisor.Hypervisor, features ...string) *hypervisor.Client {
	info := sdk.Info{Name: "fake", Capabilities: map[string][]string{hypervisor.CapabilityFeature: features}}
	return hypervisor.NewClient(plugintest.Dial(t, hypervisor.Plugin(info, impl)), info)
}

func TestCallsReachTheImplementationAndErrorsComeBack(t *testing.T) {
	c := dial(t, &hypervisor.Fake{
		CreateFunc: func(_ context.Context, requestID string, s hypervisor.Spec) (hypervisor.VM, error) {
			if requestID != "r1" || s.CPUs != 2 {
				t.Errorf("create got %q, %+v", requestID, s)
			}
			return vm(hypervisor.Created), nil
		},
		StopFunc: func(_ context.Context, id string, mode hypervisor.StopMode) (hypervisor.VM, error) {
			return hypervisor.VM{}, &fault.Error{Reason: fault.NotFound, Op: "stop", Subject: id, Hint: string(mode)}
		},
	})
	if got, err := c.Create(t.Context(), "r1", hypervisor.Spec{ID: "vm", CPUs: 2}); err != nil || got != vm(hypervisor.Created) {
		t.Errorf("create gave %+v, %v", got, err)
	}
	_, err := c.Stop(t.Context(), "x", hypervisor.AwaitGuest)
	if !errors.Is(err, fault.NotFound) || err.Error() != `stop "x": not found; await-guest` {
		t.Errorf("stop gave %v", err)
	}
}

func TestOptionalCallsNeedTheCapabilityAndTheImplementation(t *testing.T) {
	for _, c := range []struct {
		name     string
		features []string
	}{{"not offered", nil}, {"offered but missing", []string{hypervisor.FeaturePause, hypervisor.FeatureHotplug, hypervisor.FeatureResize, hypervisor.FeatureSnapshot, hypervisor.FeatureTemplate}}} {
		client := dial(t, &hypervisor.Fake{}, c.features...)
		_, snapshot := client.Snapshot(t.Context(), "", "vm", "/tmp", nil)
		_, templates := client.Templates(t.Context(), "/tmp")
		_, verified := client.VerifyTemplate(t.Context(), "/tmp", "id")
		_, restore := client.Restore(t.Context(), "", "/tmp", hypervisor.Spec{})
		for feature, err := range map[string]error{
			"feature pause":    errors.Join(client.Pause(t.Context(), "vm"), client.Resume(t.Context(), "vm")),
			"feature hotplug":  errors.Join(client.AttachDevice(t.Context(), "", "vm", hypervisor.Device{}), client.DetachDevice(t.Context(), "", "vm", "d")),
			"feature resize":   client.Resize(t.Context(), "vm", 1, 1),
			"feature snapshot": errors.Join(snapshot, restore),
			"feature template": errors.Join(templates, verified, client.RemoveTemplate(t.Context(), "/tmp", "id")),
		} {
			if !errors.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), feature) {
				t.Errorf("%s: %s: %v", c.name, feature, err)
			}
		}
	}
}

type snapshotter struct{ hypervisor.Fake }

func (*snapshotter) Snapshot(_ context.Context, _, _, _ string, report progress.Func) (uint64, error) {
	report(progress.Update{Item: "memory", Done: 5, Total: 5, Unit: progress.Bytes})
	return 5, nil
}

func (*snapshotter) Restore(context.Context, string, string, hypervisor.Spec) (hypervisor.VM, error) {
	return vm(hypervisor.Paused), nil
}

func TestSnapshotReportsProgressAndSize(t *testing.T) {
	c := dial(t, &snapshotter{}, hypervisor.FeatureSnapshot)
	var seen []progress.Update
	size, err := c.Snapshot(t.Context(), "r", "vm", "/tmp/s", func(u progress.Update) { seen = append(seen, u) })
	if err != nil || size != 5 || len(seen) != 1 || seen[0].Item != "memory" {
		t.Errorf("size %d, progress %+v, %v", size, seen, err)
	}
}

func TestWatchGivesStatesInOrderAndEndsWithTheVM(t *testing.T) {
	c := dial(t, &hypervisor.Fake{WatchFunc: func(_ context.Context, _ string, event func(hypervisor.VM)) error {
		for _, s := range []hypervisor.State{hypervisor.Created, hypervisor.Running, hypervisor.Stopped} {
			event(vm(s))
		}
		return nil
	}})
	var states []string
	err := c.Watch(t.Context(), "vm", func(v hypervisor.VM) { states = append(states, string(v.State)) })
	if err != nil || strings.Join(states, " ") != "created running stopped" {
		t.Errorf("states %v, %v", states, err)
	}
}

func TestWatchEndsInThePluginWhenTheCallerLeaves(t *testing.T) {
	ended := make(chan struct{})
	c := dial(t, &hypervisor.Fake{WatchFunc: func(ctx context.Context, _ string, event func(hypervisor.VM)) error {
		defer close(ended)
		event(vm(hypervisor.Running))
		<-ctx.Done()
		return ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	err := c.Watch(ctx, "vm", func(hypervisor.VM) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("watch gave %v", err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the plugin still watches")
	}
}

type templater struct {
	hypervisor.Fake
	list []hypervisor.Template
}

func (t *templater) Templates(context.Context, string) ([]hypervisor.Template, error) {
	return t.list, nil
}
func (t *templater) RemoveTemplate(context.Context, string, string) error { return nil }

func (t *templater) VerifyTemplate(_ context.Context, cacheDir, id string) (hypervisor.VerifiedTemplate, error) {
	return hypervisor.VerifiedTemplate{Damage: cacheDir + " " + id, Compared: true}, nil
}

func TestAVerificationReachesThePluginAndComesBack(t *testing.T) {
	c := dial(t, &templater{}, hypervisor.FeatureTemplate)
	if v, err := c.VerifyTemplate(t.Context(), "/cache", "id"); err != nil || v != (hypervisor.VerifiedTemplate{Damage: "/cache id", Compared: true}) {
		t.Errorf("verify gave %+v, %v", v, err)
	}
}

func TestTemplatesOfAPluginAreNotTrusted(t *testing.T) {
	for name, answer := range map[string]hypervisor.Template{
		"an id that steers a terminal": {ID: "a\x1b[2J"},
		"no id":                        {},
		"a size below zero":            {ID: "a", SizeBytes: 1 << 63},
	} {
		c := dial(t, &templater{list: []hypervisor.Template{answer}}, hypervisor.FeatureTemplate)
		if _, err := c.Templates(t.Context(), "/tmp"); !errors.Is(err, fault.Internal) || !strings.Contains(err.Error(), "fault of the plugin") {
			t.Errorf("%s gave %v", name, err)
		}
	}
	c := dial(t, &templater{list: []hypervisor.Template{{ID: "a-1"}}}, hypervisor.FeatureTemplate)
	if list, err := c.Templates(t.Context(), "/tmp"); err != nil || len(list) != 1 || list[0].ID != "a-1" {
		t.Errorf("a good one gave %v, %v", list, err)
	}
}

func TestAnswersAreNotTrusted(t *testing.T) {
	for name, answer := range map[string]hypervisor.VM{
		"a relative vsock path":     {ID: "vm", State: hypervisor.Running, VsockPath: "vm.sock"},
		"a vsock path with dots":    {ID: "vm", State: hypervisor.Running, VsockPath: "/run/../etc/vm.sock"},
		"a vsock path of no socket": {ID: "vm", State: hypervisor.Running, VsockPath: "/" + strings.Repeat("x", 110)},
		"no vsock path":             {ID: "vm", State: hypervisor.Running},
		"an unknown state":          {ID: "vm", State: "melted", VsockPath: "/run/vm.sock"},
		"a VM nobody asked for":     {ID: "other", State: hypervisor.Running, VsockPath: "/run/vm.sock"},
	} {
		c := dial(t, &hypervisor.Fake{GetFunc: func(context.Context, string) (hypervisor.VM, error) { return answer, nil }})
		if _, err := c.Get(t.Context(), "vm"); !errors.Is(err, fault.Internal) || !strings.Contains(err.Error(), "fault of the plugin") {
			t.Errorf("%s gave %v", name, err)
		}
	}
}
