package command

import (
	"reflect"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/engine"
	"github.com/vzctl/vzctl/core/runtimespec"
)

func TestVerbsGoToEachContainerThatIsNamed(t *testing.T) {
	for _, verb := range []string{"pause", "unpause", "restart", "stop"} {
		t.Run(verb, func(t *testing.T) {
			f := &fake{missing: map[string]bool{"b": true}}
			d := newDesk(f)
			code := d.run(t, verb, "a", "b", "c")
			d.wants(t, code, 1, "a\nc\n", "vzctl: find container \"b\": not found\n")
			if want := verb + " a, " + verb + " b, " + verb + " c"; f.noted() != want {
				t.Errorf("calls: %s; want %s", f.noted(), want)
			}
		})
	}
}

func TestHowToStopIsTheContainersUnlessItIsSaid(t *testing.T) {
	seconds := func(n int) *time.Duration { d := time.Duration(n) * time.Second; return &d }
	for _, test := range []struct {
		args []string
		want engine.StopOptions
	}{
		{[]string{"stop", "a"}, engine.StopOptions{}},
		{[]string{"stop", "-t", "0", "-s", "RTMIN+3", "a"}, engine.StopOptions{Signal: "RTMIN+3", Timeout: seconds(0)}},
		{[]string{"restart", "-t", "7", "a"}, engine.StopOptions{Timeout: seconds(7)}},
	} {
		f := &fake{}
		newDesk(f).run(t, test.args...)
		if !reflect.DeepEqual(f.stopOptions, test.want) {
			t.Errorf("%q: %+v", test.args, f.stopOptions)
		}
	}
}

func TestRename(t *testing.T) {
	f := &fake{}
	d := newDesk(f)
	code := d.run(t, "rename", "old", "new")
	d.wants(t, code, 0, "", "")
	if f.noted() != "to new, rename old" {
		t.Errorf("calls: %s", f.noted())
	}
	for _, args := range [][]string{{"rename"}, {"rename", "old"}, {"rename", "a", "b", "c"}} {
		if code := newDesk(&fake{}).run(t, args...); code != 125 {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
}

func TestUpdateReadsLimits(t *testing.T) {
	f := &fake{}
	d := newDesk(f)
	code := d.run(t, "update", "--cpus", "2", "--cpu-shares", "512", "--cpuset-cpus", "0-1", "-m", "1g", "--memory-swap", "-1", "--pids-limit", "0", "--restart", "always", "a", "b")
	d.wants(t, code, 0, "a\nb\n", "")
	want := runtimespec.Limits{CPUs: 2, CPUShares: 512, CPUSet: "0-1", MemoryBytes: 1 << 30, MemorySwap: -1, PidsLimit: -1}
	if f.updateRequest.Limits != want || f.updateRequest.Restart != "always" {
		t.Errorf("limits %+v", f.updateRequest.Limits)
	}
	for _, args := range [][]string{{"a"}, {"--cpus", "half", "a"}, {"-m", "much", "a"}, {"--memory-swap", "-2", "a"}} {
		if code := newDesk(&fake{}).run(t, append([]string{"update"}, args...)...); code != 125 {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
}

func TestHowAContainerStopsIsSaidAtItsCreation(t *testing.T) {
	f := &fake{}
	newDesk(f).run(t, "create", "--stop-signal", "QUIT", "--stop-timeout", "3", "--cpuset-cpus", "0", "i")
	r := f.createRequest
	if r.StopSignal != "QUIT" || r.StopSeconds == nil || *r.StopSeconds != 3 || r.Isolation.CPUSet != "0" {
		t.Errorf("request %+v", r)
	}
	if code := newDesk(&fake{}).run(t, "create", "--stop-timeout", "-1", "i"); code != 125 {
		t.Errorf("exit code %d", code)
	}
}
