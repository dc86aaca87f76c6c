package engine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/sdk"
)

// asking is an engine whose plugins tell what they are asked.
type asking struct {
	*Engine
	t      *testing.T
	kernel string // of which the provider says that it depends on this path with .json, too
}

func newAsking(t *testing.T) asking {
	t.Helper()
	dir := t.TempDir()
	t.Setenv(calls, filepath.Join(dir, "calls"))
	a := asking{newEngine(t), t, filepath.Join(dir, "vmlinux")}
	a.write(os.Getenv(calls), "")
	a.write(a.kernel, "kernel")
	a.age(a.kernel)
	return a
}

func (a asking) write(path, text string) {
	a.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// age waits until a file is old enough to be told from one that changes next.
func (a asking) age(path string) {
	a.t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		a.t.Fatal(err)
	}
	time.Sleep(time.Until(info.ModTime().Add(2100 * time.Millisecond)))
}

// create makes a container and returns what the plugins were asked for it, in alphabetical order.
func (a asking) create(change func(*CreateRequest)) (Container, string) {
	a.t.Helper()
	a.write(os.Getenv(calls), "")
	r := request("")
	r.Kernel = a.kernel
	if change != nil {
		change(&r)
	}
	c, err := a.Create(a.t.Context(), r, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	text, err := os.ReadFile(os.Getenv(calls))
	if err != nil {
		a.t.Fatal(err)
	}
	words := strings.Fields(string(text))
	slices.Sort(words)
	return c, strings.Join(words, " ")
}

func TestAPluginIsAskedAgainOnlyIfWhatItsAnswerDependsOnHasChanged(t *testing.T) {
	a := newAsking(t)
	steps := []struct {
		name   string
		before func()
		change func(*CreateRequest)
		want   string
	}{
		{"first", nil, nil, "build kernel layer"},
		{"again", nil, nil, ""},
		{"another kernel, which says nothing of what it depends on", nil, func(r *CreateRequest) { r.Kernel = "" }, "kernel"},
		{"the same again", nil, func(r *CreateRequest) { r.Kernel = "" }, "kernel"},
		{"the image's disk is gone", func() { a.remove(a.store.Paths().Rootfs(), "base.img") }, nil, "build"},
		{"the blank layer is gone", func() { a.remove(a.store.Paths().Blanks(), "*.img") }, nil, "layer"},
		{"the blank layer is another", func() { a.overwrite(a.store.Paths().Blanks()) }, nil, "layer"},
		{"all answers are gone", func() { a.remove(a.store.Paths().Answers(), "*") }, nil, "build kernel layer"},
		{"a variable for plugins", func() { t.Setenv("VZCTL_SOMETHING", "else") }, nil, "build kernel layer"},
		{"another plugin", nil, func(r *CreateRequest) { r.Plugins = map[sdk.Kind]string{sdk.RootfsBuilder: a.anotherBuilder()} }, "build layer"},
		{"what the kernel depends on has appeared", func() { a.write(a.kernel+".json", "{}") }, nil, "build kernel"}, // the other plugin wrote the disk anew
	}
	for _, step := range steps {
		if step.before != nil {
			step.before()
		}
		c, asked := a.create(step.change)
		if asked != step.want {
			t.Errorf("%s: asked %q, want %q", step.name, asked, step.want)
		}
		a.checkLayer(step.name, c)
	}
}

// checkLayer fails unless a container has a layer of its own with the content of a new one.
func (a asking) checkLayer(step string, c Container) {
	a.t.Helper()
	record, err := a.store.Get(c.ID)
	if err != nil {
		a.t.Fatal(err)
	}
	layer := record.Layer
	text, err := os.ReadFile(layer.Path)
	if layer.Path != a.store.Paths().SandboxLayer(record.Sandbox) || string(text) != "layer" || layer.FileSystem != "ext4" || err != nil {
		a.t.Errorf("%s: layer %+v with %q, %v", step, layer, text, err)
	}
}

func (a asking) remove(dir, pattern string) {
	a.t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(files) == 0 {
		a.t.Fatal(files, err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			a.t.Fatal(err)
		}
	}
}

func (a asking) overwrite(dir string) {
	a.t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.img"))
	if err != nil || len(files) != 1 {
		a.t.Fatal(files, err)
	}
	a.write(files[0], "trick")
}

func (a asking) anotherBuilder() string {
	a.t.Helper()
	self, err := os.Executable()
	if err != nil {
		a.t.Fatal(err)
	}
	path := filepath.Join(a.t.TempDir(), "ext4-builder")
	if err := os.Symlink(self, path); err != nil {
		a.t.Fatal(err)
	}
	return path
}

func TestThatAnAnswerCannotBeKeptHurtsNobody(t *testing.T) {
	a := newAsking(t)
	for _, dir := range []string{a.store.Paths().Answers(), a.store.Paths().Blanks()} {
		a.write(dir, "not a directory")
	}
	for range 2 {
		c, asked := a.create(nil)
		if asked != "build kernel layer" {
			t.Errorf("asked %q", asked)
		}
		a.checkLayer("without a place for answers", c)
	}
}
