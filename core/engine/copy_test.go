package engine

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk/fault"
)

func TestCopiesGoWhereDockersDo(t *testing.T) {
	file := func(path string) side { return side{path, true, false} }
	dir := func(path string) side { return side{path, true, true} }
	gone := func(path string) side { return side{path: path} }
	for _, test := range []struct {
		name     string
		from, to side
		plan     copyPlan
		refused  string
	}{
		{"a file to where nothing is", file("/a/f"), gone("/b/g"), copyPlan{name: "copy"}, ""},
		{"a file over a file", file("/a/f"), file("/b/g"), copyPlan{name: "copy"}, ""},
		{"a file into a directory", file("/a/f"), dir("/b"), copyPlan{"f", true}, ""},
		{"a file into a directory that is not there", file("/a/f"), gone("/b/"), copyPlan{}, "no such directory"},
		{"a directory to where nothing is", dir("/a/d"), gone("/b"), copyPlan{name: "copy"}, ""},
		{"what is in a directory to where nothing is", dir("/a/d/."), gone("/b"), copyPlan{name: "copy"}, ""},
		{"a directory into a directory", dir("/a/d"), dir("/b"), copyPlan{"d", true}, ""},
		{"a directory with a slash into a directory", dir("/a/d/"), dir("/b/"), copyPlan{"d", true}, ""},
		{"what is in a directory into a directory", dir("/a/d/."), dir("/b"), copyPlan{".", true}, ""},
		{"all that is in a root", dir("/"), dir("/b"), copyPlan{".", true}, ""},
		{"the directory one is in", dir("."), dir("/b"), copyPlan{".", true}, ""},
		{"the one above", dir(".."), dir("/b"), copyPlan{".", true}, ""},
		{"a directory over a file", dir("/a/d"), file("/b"), copyPlan{}, "not a directory"},
		{"nothing", gone("/a"), dir("/b"), copyPlan{}, "no such file"},
		{"a file as a directory", file("/a/f/"), dir("/b"), copyPlan{}, "not a directory"},
		{"what is in a file", file("/a/f/."), dir("/b"), copyPlan{}, "not a directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan, err := planCopy(test.from, test.to)
			if plan != test.plan || (err == nil) != (test.refused == "") || err != nil && !strings.Contains(err.Error(), test.refused) {
				t.Errorf("%+v, %v; want %+v, %q", plan, err, test.plan, test.refused)
			}
		})
	}
}

func TestACommitChangesTheConfigurationAsADockerfileWould(t *testing.T) {
	base := ocispec.ImageConfig{Env: []string{"A=1", "B=2"}, Cmd: []string{"old"}, Labels: map[string]string{"l": "1"}}
	for _, test := range []struct {
		text   string
		change func(*ocispec.ImageConfig) // nil: refused
	}{
		{`CMD ["a", "b c"]`, func(c *ocispec.ImageConfig) { c.Cmd = []string{"a", "b c"} }},
		{"cmd echo hi", func(c *ocispec.ImageConfig) { c.Cmd = []string{"/bin/sh", "-c", "echo hi"} }},
		{`ENTRYPOINT ["/x"]`, func(c *ocispec.ImageConfig) { c.Entrypoint = []string{"/x"} }},
		{"ENV A=x=y", func(c *ocispec.ImageConfig) { c.Env = []string{"B=2", "A=x=y"} }},
		{`ENV C "with blanks"`, func(c *ocispec.ImageConfig) { c.Env = []string{"A=1", "B=2", "C=with blanks"} }},
		{"LABEL m=2", func(c *ocispec.ImageConfig) { c.Labels = map[string]string{"l": "1", "m": "2"} }},
		{"EXPOSE 80 53/udp", func(c *ocispec.ImageConfig) { c.ExposedPorts = map[string]struct{}{"80/tcp": {}, "53/udp": {}} }},
		{`VOLUME ["/v", "/w"]`, func(c *ocispec.ImageConfig) { c.Volumes = map[string]struct{}{"/v": {}, "/w": {}} }},
		{"VOLUME /v", func(c *ocispec.ImageConfig) { c.Volumes = map[string]struct{}{"/v": {}} }},
		{"USER 1:2", func(c *ocispec.ImageConfig) { c.User = "1:2" }},
		{"WORKDIR /w", func(c *ocispec.ImageConfig) { c.WorkingDir = "/w" }},
		{"STOPSIGNAL SIGINT", func(c *ocispec.ImageConfig) { c.StopSignal = "SIGINT" }},
		{"ENV A=1 C=2", nil}, {`LABEL a="x" b="y"`, nil}, // two, by Docker's rules
		{"WORKDIR w", nil}, {"ENV =x", nil}, {"RUN rm -rf /", nil}, {"CMD", nil}, {"", nil}, {"USER a\x00b", nil},
	} {
		t.Run(test.text, func(t *testing.T) {
			got, want := base, base
			err := changeConfig(&got, test.text)
			if test.change == nil {
				if !errors.Is(err, fault.Invalid) {
					t.Errorf("error %v", err)
				}
				return
			}
			test.change(&want)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%+v, %v; want %+v", got, err, want)
			}
			if base.Labels["m"] != "" || base.Env[0] != "A=1" {
				t.Error("the image that it is made of was changed")
			}
		})
	}
}

func TestAListOfChangesOfAnEnemy(t *testing.T) {
	got, err := parseChanges(strings.NewReader("A /a\x00"), maxChangesBytes)
	if err == nil {
		t.Errorf("%+v", got)
	}
	if got, err := parseChanges(strings.NewReader("A/a\x00A/b\x00"), 7); err == nil || !strings.Contains(err.Error(), "more than 7 bytes") {
		t.Errorf("of a list that is too long: %+v, %v", got, err)
	}
	for text, want := range map[string][]FileChange{
		"":                                nil,
		"A/a\x00D/b c\x00C/\n\x00":        {{"A", "/a"}, {"D", "/b c"}, {"C", "/\n"}},
		"X/a\x00":                         nil,
		"Arelative\x00":                   nil,
		"A" + strings.Repeat("/a", 1<<16): nil,
	} {
		if got, _ := parseChanges(strings.NewReader(text), maxChangesBytes); !reflect.DeepEqual(got, want) {
			t.Errorf("of %.20q: %+v, want %+v", text, got, want)
		}
	}
}

func TestFilesThatMustStayAsTheyAre(t *testing.T) {
	for _, test := range []struct {
		name  string
		c     store.Container
		write bool
		says  string
	}{
		{"any container's", store.Container{}, true, ""},
		{"what a checkpoint needs", store.Container{Checkpoint: &store.Checkpoint{}}, false, "checkpoint"},
		{"those of one with a copy", store.Container{Checkpoint: &store.Checkpoint{Layer: true}}, true, ""},
		{"a read-only root", store.Container{ReadOnly: true}, true, "read-only"},
		{"a read-only root that is read", store.Container{ReadOnly: true}, false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := filesAllowed(test.c, test.write)
			if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want %q", err, test.says)
			}
		})
	}
}

func TestWhatIsMountedIsNotThereWhileAContainerIsStopped(t *testing.T) {
	c := store.Container{Name: "web", State: "stopped", Mounts: []store.Mount{{Destination: "/data/"}}}
	for _, test := range []struct {
		path, says, warns string
	}{
		{"/data", "vzctl start web", ""}, {"data/x", "vzctl start web", ""}, {"/a/../data", "vzctl start web", ""},
		{"/database", "", ""}, {"/etc", "", ""}, {"/", "", "/data was left out"}, {"/.", "", "/data was left out"},
	} {
		t.Run(test.path, func(t *testing.T) {
			a := &access{stopped: true}
			err := a.beside(c, test.path, true)
			hint := ""
			if f, ok := errors.AsType[*fault.Error](err); ok {
				hint = f.Hint
			}
			if warnings := strings.Join(a.warned(), "\n"); hint != test.says || !strings.Contains(warnings, test.warns) || test.warns == "" && warnings != "" {
				t.Errorf("error %v, warnings %q", err, warnings)
			}
			if err := (&access{}).beside(c, test.path, false); err != nil {
				t.Errorf("while it runs: %v", err)
			}
		})
	}
}
