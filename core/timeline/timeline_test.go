package timeline

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; if that is meant, go test ./core/timeline -update\n%s", path, got)
	}
}

const ms = time.Millisecond

// start of a container; how long its VM takes to answer is the difference between a cold and a cloned one.
func start(vm string, boot, ran time.Duration) Timeline {
	up := 40*ms + boot
	spans := []Span{
		{"create", Command, "", 1 * ms, 20 * ms},
		{"image", Command, "create", 2 * ms, 1 * ms},
		{"rootfs", Command, "create", 4 * ms, 12 * ms},
		{"kernel provider", Command, "create", 4 * ms, 8 * ms},
		{"start", Command, "", 21 * ms, up + 30*ms - 21*ms},
		{"launch", Command, "start", 22 * ms, 5 * ms},
		{"hypervisor", Host, "start", 30 * ms, 4 * ms},
		{"network", Host, "start", 34 * ms, 3 * ms},
		{"create vm", Host, "start", 37 * ms, 1 * ms},
		{"start vm", Host, "start", 38 * ms, up - 38*ms - boot/2},
		{"agent", Host, "start", up - boot/2, boot / 2},
		{"adopt", Host, "start", up, 6 * ms},
		{"entropy", Guest, "adopt", up + 1*ms, 1 * ms},
		{"interfaces", Guest, "adopt", up + 2*ms, 3 * ms},
		{"container", Host, "start", up + 6*ms, 10 * ms},
		{"mount", Guest, "container", up + 7*ms, 8 * ms},
		{"process", Host, "start", up + 16*ms, 12 * ms},
		{"execute", Guest, "process", up + 17*ms, 10 * ms},
		{"run", Guest, "", up + 28*ms, ran},
		{"end", Command, "", up + 28*ms + ran, 9 * ms},
		{"remove", Command, "", up + 37*ms + ran, 1 * ms},
	}
	if vm == Cold {
		spans = append(spans, Span{"kernel", Guest, "agent", up - boot/2, boot / 3}, Span{"vminitd", Guest, "agent", up - boot/2 + boot/3, boot / 6})
	}
	return Timeline{Image: "docker.io/library/busybox:latest", Container: "4f1d", VM: vm, Accelerator: "tcg", Start: up + 28*ms, Total: up + 38*ms + ran, Spans: spans}
}

func TestTheRunOfAContainerAsAPicture(t *testing.T) {
	for name, line := range map[string]Timeline{
		"cold":            start(Cold, 600*ms, 2*ms),
		"cloned":          start(Cloned, 30*ms, 2*ms),
		"ran for an hour": start(Cloned, 30*ms, time.Hour),
	} {
		t.Run(name, func(t *testing.T) { golden(t, strings.ReplaceAll(name, " ", "_")+".svg", line.SVG()) })
	}
}

func TestTheRunOfAContainerAsData(t *testing.T) {
	text, err := start(Cloned, 30*ms, 2*ms).JSON()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "cloned.json", text)
	text, err = Timeline{}.JSON()
	if err != nil || !strings.Contains(string(text), `"spans": []`) {
		t.Errorf("without spans it is %s, %v", text, err)
	}
}

func TestPartsFollowTheirWhole(t *testing.T) {
	line := Timeline{Spans: []Span{
		{"b", Host, "", 5, 5}, {"part of b", Guest, "b", 6, 1}, {"a", Host, "", 1, 9}, {"part of a", Guest, "a", 7, 1}, {"orphan", Guest, "nothing", 8, 1},
		{"x", Host, "y", 9, 1}, {"y", Host, "x", 9, 1}, // parts of each other
		{"a", Guest, "b", 0, 1}, // a guest may call its phases as it likes
	}}
	var got []string
	for _, row := range line.Rows()[1:] {
		got = append(got, row[0])
	}
	if want := "a|  part of a|b|  a|  part of b|orphan|x|y"; strings.Join(got, "|") != want {
		t.Errorf("rows %q; want %s", got, want)
	}
}

func TestTextOfStrangersStaysText(t *testing.T) {
	line := Timeline{Image: `"><script>alert(1)</script>` + "\x1b\xff" + strings.Repeat("long", 1000), VM: "<cold>", Accelerator: "&",
		Spans: []Span{{"]]></style>\x00", `guest"/><x>`, "", -5 * ms, 1 * ms}, {"huge", Guest, "", 1<<62 - 1, 1<<62 - 1}}}
	picture := line.SVG()
	seen := map[string]bool{}
	for decoder := xml.NewDecoder(bytes.NewReader(picture)); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not XML: %v", err)
		}
		if element, ok := token.(xml.StartElement); ok {
			seen[element.Name.Local] = true
		}
	}
	for name := range seen {
		if !strings.Contains(" svg title style text rect line ", " "+name+" ") {
			t.Errorf("there is an element %q", name)
		}
	}
	if len(picture) > 64<<10 {
		t.Errorf("%d bytes", len(picture))
	}
	text, err := line.JSON()
	if err != nil || !json.Valid(text) {
		t.Errorf("JSON %s, %v", text, err)
	}
}

func TestAPictureOfNothingIsOne(t *testing.T) {
	if picture := (Timeline{}).SVG(); !bytes.HasSuffix(picture, []byte("</svg>\n")) {
		t.Errorf("%s", picture)
	}
}

func TestWhatIsDoneUnderARecorderIsRecorded(t *testing.T) {
	r := NewRecorder()
	ctx := With(context.Background(), r)
	end := Begin(ctx, "work", "")
	Begin(ctx, "part", "work")()
	end()
	Begin(context.Background(), "unseen", "")()
	if !Recorded(ctx) || Recorded(context.Background()) {
		t.Error("it is not known whether it is recorded")
	}
	spans := r.Spans()
	if len(spans) != 2 || spans[0].Name != "part" || spans[0].Within != "work" || spans[1].Name != "work" || spans[0].Begin < spans[1].Begin || spans[0].End() > spans[1].End() {
		t.Errorf("spans %+v", spans)
	}
}
