package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestE2EAStartIsDrawnColdAndCloned looks at the pictures of the first and the second start of a shape.
func TestE2EAStartIsDrawnColdAndCloned(t *testing.T) {
	p := alone(t)
	dir := t.TempDir()
	type span struct {
		Name, Where, Within string
		Begin, Duration     time.Duration
	}
	draw := func(name string, flags ...string) (vm string, spans map[string]span) {
		t.Helper()
		data, picture := filepath.Join(dir, name+".json"), filepath.Join(dir, name+".svg")
		p.must(append(append([]string{"run", "--rm", "--timeline", data}, flags...), p.desk.busybox, "true")...)
		text, err := os.ReadFile(data)
		if err != nil {
			t.Fatal(err)
		}
		var line struct {
			Schema       int
			Image, VM    string
			Start, Total time.Duration
			Spans        []span
		}
		if err := json.Unmarshal(text, &line); err != nil {
			t.Fatal(err)
		}
		if line.Schema != 1 || line.Image != p.desk.busybox || line.Start <= 0 || line.Total < line.Start {
			t.Errorf("%s: %+v", name, line)
		}
		spans = map[string]span{}
		for _, s := range line.Spans {
			spans[s.Where+" "+s.Name] = s
			if s.Begin < 0 || s.Duration < 0 || s.Begin+s.Duration > line.Total {
				t.Errorf("%s: %+v of a command of %v", name, s, line.Total)
			}
		}
		p.must(append(append([]string{"run", "--rm", "--timeline", picture}, flags...), p.desk.busybox, "true")...)
		if text, err := os.ReadFile(picture); err != nil || !strings.HasSuffix(string(text), "</svg>\n") || !strings.Contains(string(text), p.desk.busybox) {
			t.Errorf("%s: %.100s, %v", name, text, err)
		}
		return line.VM, spans
	}
	both := "command create, command launch, host supervisor, host start vm, host container, guest entropy, guest interfaces, guest mount, guest execute, host process, guest run, command end"
	has := func(what string, spans map[string]span, names string, wanted bool) {
		t.Helper()
		for name := range strings.SplitSeq(names, ", ") {
			if _, there := spans[name]; there != wanted {
				t.Errorf("%s: %q is there: %v", what, name, there)
			}
		}
	}
	vm, spans := draw("cold", "--hypervisor-opt", "templates=off")
	if vm != "cold" {
		t.Errorf("the first is %s", vm)
	}
	has("cold", spans, both+", guest kernel, guest vminitd", true)
	p.must("run", "--rm", p.desk.busybox, "true") // makes the template
	vm, spans = draw("cloned")
	if vm != "cloned" {
		t.Errorf("the second is %s", vm)
	}
	has("cloned", spans, both, true)
	has("cloned", spans, "guest kernel, guest vminitd", false)
	for _, part := range []string{"entropy", "interfaces"} {
		whole, s := spans["host container"], spans["guest "+part]
		if s.Within != "container" || s.Begin < whole.Begin || s.Begin+s.Duration > whole.Begin+whole.Duration {
			t.Errorf("%+v is no part of %+v", s, whole)
		}
	}
}
