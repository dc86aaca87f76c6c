package runtimespec

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/sdk/fault"
)

var update = flag.Bool("update", false, "write the golden files")

func TestArguments(t *testing.T) {
	image := imagespec.ImageConfig{Entrypoint: []string{"/entry"}, Cmd: []string{"default"}}
	tests := []struct {
		name                string
		image               imagespec.ImageConfig
		entrypoint, command []string
		want                string
	}{
		{"the image's word holds", image, nil, nil, "/entry default"},
		{"a command replaces the image's command", image, nil, []string{"mine"}, "/entry mine"},
		{"an entrypoint replaces the image's, and its command", image, []string{"/own"}, nil, "/own"},
		{"entrypoint and command", image, []string{"/own"}, []string{"a", "b"}, "/own a b"},
		{"an empty entrypoint clears the image's", image, []string{""}, []string{"sh"}, "sh"},
		{"no entrypoint", imagespec.ImageConfig{Cmd: []string{"sh"}}, nil, nil, "sh"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Arguments(test.image, test.entrypoint, test.command)
			if err != nil || strings.Join(got, " ") != test.want {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
	if _, err := Arguments(imagespec.ImageConfig{}, nil, nil); !errors.Is(err, fault.Invalid) {
		t.Errorf("nothing to run: %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	got, err := Environment([]string{"PATH=/image", "A=1", "damaged", "B=2"}, []string{"B=mine", "C=", "A=x=y"})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"PATH=/image", "A=x=y", "B=mine", "C="}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, _ := Environment(nil, nil); !slices.Equal(got, []string{"PATH=" + DefaultPath}) {
		t.Errorf("PATH is missing: %q", got)
	}
	for _, bad := range []string{"NOVALUE", "=x", "", "A=\x00"} {
		if _, err := Environment(nil, []string{bad}); !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestAnErrorAboutTheEnvironmentShowsNoValue(t *testing.T) {
	_, err := Environment(nil, []string{"TOKEN=secret\x00"})
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
}

func TestSpec(t *testing.T) {
	tests := []struct {
		file string
		in   Input
	}{
		{"default", Input{ContainerID: "c1", Args: []string{"sh"}, Hostname: "box", CPUs: 2, MemoryBytes: 512 << 20,
			Image: imagespec.ImageConfig{Env: []string{"PATH=/bin"}, WorkingDir: "/srv/"}}},
		{"terminal", Input{ContainerID: "c2", Args: []string{"sh", "-l"}, WorkingDir: "/tmp", Terminal: true, ReadOnly: true}},
	}
	for _, test := range tests {
		t.Run(test.file, func(t *testing.T) {
			spec, err := Build(test.in)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(spec, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden := "testdata/" + test.file + ".json"
			if *update {
				if err := os.WriteFile(golden, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Errorf("the spec is not that of %s; go test -update writes it anew. Got:\n%s", golden, got)
			}
		})
	}
}

func TestBadProcesses(t *testing.T) {
	tests := []struct {
		name string
		args []string
		dir  string
	}{
		{"no command", nil, "/"}, {"an empty command", []string{""}, "/"}, {"a zero byte", []string{"a\x00b"}, "/"},
		{"a relative directory", []string{"sh"}, "tmp"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Process(test.args, nil, test.dir, false); !errors.Is(err, fault.Invalid) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestTheImagesOwnTermIsKept(t *testing.T) {
	p, err := Process([]string{"sh"}, []string{"TERM=vt220"}, "/", true)
	if err != nil || !slices.Equal(p.Env, []string{"TERM=vt220"}) {
		t.Errorf("%v, %v", p, err)
	}
}
