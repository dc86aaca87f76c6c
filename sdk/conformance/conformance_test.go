package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/conformance"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/plugintest"
)

var scripted string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "scripted")
	if err == nil {
		scripted, err = plugintest.Build(dir, plugintest.ScriptedPackage)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func target(script string) conformance.Target {
	return conformance.Target{Path: scripted, Env: []string{"VZCTL_SCRIPT=" + script}}
}

// The scripted plugin is a kernel provider that says yes to everything: common cases pass, but one, and its kind's do not.
func TestASuiteTellsGoodFromBad(t *testing.T) {
	reported := 0
	results, err := conformance.Run(t.Context(), target("tidy"), conformance.Fixture{}, func(conformance.Result) { reported++ })
	if err != nil || reported != len(results) || len(results) != len(conformance.Cases(sdk.KernelProvider)) {
		t.Fatalf("%d results, %d reports, %v", len(results), reported, err)
	}
	for name, want := range map[string]conformance.Status{
		"info names the plugin, its version, kind and platforms":              conformance.Passed,
		"info is the same each time, for many callers at once":                conformance.Passed,
		"a call that does not exist is unsupported":                           conformance.Passed,
		"the plugin ends when its lifeline does, as when its host was killed": conformance.Passed,
		"the plugin ends on SIGTERM":                                          conformance.Passed,
		"list for an architecture gives no other":                             conformance.Failed,
		"ensure of a name that is none is not found":                          conformance.Failed,
		"ensure of a file that is no kernel is refused":                       conformance.Failed,
		"ensure gives a kernel for the architecture, the same each time":      conformance.NotRan,
	} {
		found := false
		for _, r := range results {
			if r.Case == name {
				found = true
				if r.Status != want {
					t.Errorf("%q is %s, not %s: %s", name, r.Status, want, r.Reason)
				}
				if (r.Reason == "") != (want == conformance.Passed) || strings.Contains(r.Reason, "\n") {
					t.Errorf("%q: reason %q", name, r.Reason)
				}
			}
		}
		if !found {
			t.Errorf("there is no case %q", name)
		}
	}
}

func TestAPluginThatLeavesFilesFails(t *testing.T) {
	c := conformance.Case{Name: "does nothing", Run: func(context.Context, *conformance.Env) error { return nil }}
	// Unless told to be tidy the scripted plugin writes a file when it is shut down.
	if err := conformance.RunCase(t.Context(), c, target(""), conformance.Fixture{}); err == nil || !strings.Contains(err.Error(), `left "was-shut-down"`) {
		t.Errorf("error is %v", err)
	}
	if err := conformance.RunCase(t.Context(), c, target("tidy"), conformance.Fixture{}); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNoPluginIsNotJudged(t *testing.T) {
	if _, err := conformance.Run(t.Context(), target("garbage"), conformance.Fixture{}, nil); !errors.Is(err, fault.Invalid) {
		t.Errorf("error is %v", err)
	}
}

func TestACaseThatTakesTooLongFails(t *testing.T) {
	c := conformance.Case{Name: "waits", Timeout: 50 * time.Millisecond, Run: func(ctx context.Context, _ *conformance.Env) error {
		<-ctx.Done()
		return ctx.Err()
	}}
	if err := conformance.RunCase(t.Context(), c, target("tidy"), conformance.Fixture{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
}

func TestEveryKindHasASuiteOfSentences(t *testing.T) {
	for _, kind := range sdk.Kinds() {
		seen := map[string]bool{}
		cases := conformance.Cases(kind)
		if len(cases) < 7 {
			t.Errorf("%s has %d cases", kind, len(cases))
		}
		for _, c := range cases {
			if seen[c.Name] || !strings.Contains(c.Name, " ") || strings.HasSuffix(c.Name, ".") {
				t.Errorf("%s: case %q", kind, c.Name)
			}
			seen[c.Name] = true
		}
	}
}

func TestNothingOfARunIsLeft(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	before, _ := filepath.Glob("/tmp/vzc*")
	if _, err := conformance.Inspect(t.Context(), target("tidy")); err != nil {
		t.Fatal(err)
	}
	after, _ := filepath.Glob("/tmp/vzc*")
	left, _ := os.ReadDir(os.TempDir())
	if len(after) > len(before) || len(left) > 0 {
		t.Errorf("left %v, %v", after, left)
	}
}
