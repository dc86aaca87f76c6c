package command

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/engine"
	"github.com/vzctl/vzctl/core/timeline"
)

// timed is an engine whose containers start in steps.
func timed() *fake {
	f := &fake{timeline: []engine.Phase{
		{Name: "start vm", Begin: time.Millisecond, Duration: 20 * time.Millisecond, Where: "host"},
		{Name: "process", Begin: 30 * time.Millisecond, Duration: 10 * time.Millisecond, Where: "host"},
		{Name: "execute", Begin: 31 * time.Millisecond, Duration: 8 * time.Millisecond, Where: "guest", Within: "process"},
	}}
	f.run = func(_ context.Context, _ engine.Streams, started func()) (engine.Exit, error) {
		started()
		return engine.Exit{Reason: "exited", Time: time.Now().Add(50 * time.Millisecond)}, nil
	}
	return f
}

func TestRunShowsWhereTheTimeWent(t *testing.T) {
	for _, line := range []string{"run --timeline i", "run --timeline - i", "run --timeline=- i", "run --rm --timeline i file.svg"} {
		f := timed()
		d := newDesk(f)
		if code := d.run(t, strings.Fields(line)...); code != 0 || f.createRequest.Image != "i" {
			t.Errorf("%s: exit code %d, image %q", line, code, f.createRequest.Image)
		}
		table := d.stderr.String()
		at := 0
		for _, word := range []string{"STEP", "\ncreate ", "\nstart ", "\n  start vm ", "20.00     host\n", "\n  process ", "\n    execute ", "8.00      guest\n", "\nrun ", "\nend "} {
			next := strings.Index(table[at:], word)
			if next < 0 {
				t.Errorf("%s: there is no %q in the rest of\n%s", line, word, table)
				break
			}
			at += next
		}
	}
}

func TestRunDrawsWhereTheTimeWent(t *testing.T) {
	dir := t.TempDir()
	svg, data := filepath.Join(dir, "a.svg"), filepath.Join(dir, "a.json")
	if err := os.WriteFile(data, []byte(strings.Repeat("of an older run ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"run", "--timeline", svg, "i", "true"}, {"run", "--rm", "--timeline=" + data, "i", "true"}} {
		f := timed()
		d := newDesk(f)
		d.wants(t, d.run(t, args...), 0, "", "")
		if f.createRequest.Image != "i" || !slices.Equal(f.createRequest.Command, []string{"true"}) {
			t.Errorf("%v: image %q, command %q", args, f.createRequest.Image, f.createRequest.Command)
		}
	}
	picture, err := os.Open(svg)
	if err != nil {
		t.Fatal(err)
	}
	defer picture.Close()
	for decoder := xml.NewDecoder(picture); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(data)
	if err != nil {
		t.Fatal(err)
	}
	var read timeline.Timeline
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range read.Spans {
		names = append(names, s.Where+" "+s.Name)
	}
	if want := "command create, command start, host start vm, host process, guest execute, guest run, command end, command remove"; !same(names, want) {
		t.Errorf("spans %q; want %s", names, want)
	}
	if read.Image != "i" || read.Container != "id1" || read.VM != "cloned" || read.Accelerator != "tcg" || read.Start < 40*time.Millisecond || read.Total <= 0 {
		t.Errorf("it says %+v", read)
	}
}

// same compares in any order: how long this very test takes decides what comes first.
func same(got []string, want string) bool {
	wanted := strings.Split(want, ", ")
	got = slices.Clone(got)
	slices.Sort(got)
	slices.Sort(wanted)
	return slices.Equal(got, wanted)
}

func TestADetachedRunIsDrawnUntilItRuns(t *testing.T) {
	data := filepath.Join(t.TempDir(), "a.json")
	d := newDesk(timed())
	d.wants(t, d.run(t, "run", "-d", "--timeline", data, "i"), 0, "id1\n", "")
	if text, err := os.ReadFile(data); err != nil || !strings.Contains(string(text), `"execute"`) || strings.Contains(string(text), `"end"`) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestATimelineThatCannotBeWrittenIsRefusedBeforeAnythingHappens(t *testing.T) {
	for args, want := range map[string]string{
		"--timeline=a.png":              "--timeline \"a.png\": use a file that ends in .svg or .json, or none for a table",
		"--timeline /nonexistent/a.svg": "--timeline: open /nonexistent/a.svg: no such file or directory",
	} {
		f := timed()
		d := newDesk(f)
		d.wants(t, d.run(t, append([]string{"run"}, append(strings.Fields(args), "i")...)...), 125, "", "vzctl: "+want+"\n")
		if f.noted() != "" {
			t.Errorf("calls: %s", f.noted())
		}
	}
}

func TestARunThatFailsLeavesNoPicture(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.svg")
	f := &fake{run: func(context.Context, engine.Streams, func()) (engine.Exit, error) {
		return engine.Exit{}, errors.New("no luck")
	}}
	d := newDesk(f)
	d.wants(t, d.run(t, "run", "--timeline", path, "i"), 125, "", "vzctl: no luck\n")
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file: %v", err)
	}
}
