package pluginhost

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/core/config"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
)

// kindOf says what this test program is when it is started under a name. Plugins of tests are links to it.
var kindOf = map[string]sdk.Kind{
	"qemu-hypervisor": sdk.Hypervisor,
	"other":           sdk.Hypervisor,
	"oci-registry":    sdk.ImageSource,
}

func TestMain(m *testing.M) {
	name := filepath.Base(os.Args[0])
	if kind, ok := kindOf[name]; ok {
		sdk.Serve(sdk.NewPlugin(kind, sdk.Info{Name: name, Version: "1.0"}, nil, func(grpc.ServiceRegistrar) {}))
	}
	os.Exit(m.Run())
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// install makes a directory with plugins: links to this program, or scripts.
func install(t *testing.T, names ...string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range names {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func script(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func newHost(t *testing.T, plugins config.Plugins) *Host {
	t.Helper()
	run, err := os.MkdirTemp("/tmp", "host") // short enough for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		left, err := os.ReadDir(run)
		if err != nil || len(left) > 0 {
			t.Errorf("left in the runtime directory: %v, %v", left, err)
		}
		if err := os.RemoveAll(run); err != nil {
			t.Error(err)
		}
	})
	h := New(Options{Plugins: plugins, RuntimeDir: run})
	h.goos = "linux"
	return h
}

func TestChoiceGoesFromTheFlagToThePlatform(t *testing.T) {
	h := newHost(t, config.Plugins{Use: map[sdk.Kind]string{sdk.Network: "configured"}})
	tests := []struct {
		name    string
		kind    sdk.Kind
		choices []string
		want    string
	}{
		{"flag before container", sdk.Network, []string{"flag", "container"}, "flag"},
		{"container before configuration", sdk.Network, []string{"", "container"}, "container"},
		{"configuration before default", sdk.Network, []string{"", ""}, "configured"},
		{"default", sdk.Hypervisor, nil, "qemu-hypervisor"},
		{"no translator by default", sdk.Translator, nil, ""},
	}
	for _, test := range tests {
		if got := h.Choice(test.kind, test.choices...); got != test.want {
			t.Errorf("%s: %q", test.name, got)
		}
	}
	for _, kind := range sdk.Kinds() {
		for _, goos := range []string{"linux", "darwin"} {
			if got := platformDefault(goos, kind); (got == "") != (kind == sdk.Translator) {
				t.Errorf("%s on %s: %q", kind, goos, got)
			}
		}
	}
	if got := platformDefault("darwin", sdk.Hypervisor); got != "vz-hypervisor" {
		t.Errorf("hypervisor of a Mac: %q", got)
	}
}

func TestPluginIsStartedByNameAndByPath(t *testing.T) {
	dir := install(t, "qemu-hypervisor", "other")
	h := newHost(t, config.Plugins{Dirs: []string{"/nonexistent", dir}})
	for choice, want := range map[string]string{"": "qemu-hypervisor", "other": "other", filepath.Join(dir, "other"): "other"} {
		p, err := h.Start(deadline(t), sdk.Hypervisor, choice)
		if err != nil {
			t.Fatalf("%q: %v", choice, err)
		}
		if p.Info().Name != want || p.Path != filepath.Join(dir, want) {
			t.Errorf("%q: started %q at %q", choice, p.Info().Name, p.Path)
		}
		if err := p.Close(deadline(t)); err != nil {
			t.Error(err)
		}
	}
}

func TestLaterDirectoryShadowsAnEarlier(t *testing.T) {
	first, second, third := install(t, "other"), install(t, "other"), install(t, "other")
	all, err := Discover([]string{first, second, third})
	if err != nil || len(all) != 1 || all[0].Path != filepath.Join(third, "other") {
		t.Errorf("found %+v, %v", all, err)
	}
	h := New(Options{BuiltinDir: "/builtin", Plugins: config.Plugins{Dirs: []string{"/config"}, Path: []string{"/env"}}})
	if want := []string{"/builtin", "/config", "/env"}; !slices.Equal(h.dirs(), want) {
		t.Errorf("searched %q", h.dirs())
	}
}

func TestOnlyExecutableFilesArePlugins(t *testing.T) {
	dir := install(t, "other")
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "README"), nil, 0o644), os.Mkdir(filepath.Join(dir, "data"), 0o755),
		os.Symlink("/nonexistent", filepath.Join(dir, "dangling"))); err != nil {
		t.Fatal(err)
	}
	script(t, dir, ".hidden", "exit 1")
	all, err := Discover([]string{dir})
	if err != nil || len(all) != 1 || all[0].Name != "other" {
		t.Errorf("found %+v, %v", all, err)
	}
}

func TestUnknownPluginIsToldWithThoseThereAre(t *testing.T) {
	dir := install(t, "qemu-hypervisor", "other", "oci-registry")
	h := newHost(t, config.Plugins{Dirs: []string{dir}})
	tests := []struct {
		kind sdk.Kind
		want string
	}{
		{sdk.Hypervisor, `start hypervisor plugin "nope": there is no such plugin; there are other, qemu-hypervisor`},
		{sdk.ImageSource, `start image-source plugin "nope": there is no such plugin; there is oci-registry`},
		{sdk.Network, `start network plugin "nope": there is no such plugin; there are none of this kind in ` + dir},
	}
	for _, test := range tests {
		if _, err := h.Start(deadline(t), test.kind, "nope"); !errors.Is(err, fault.NotFound) || err.Error() != test.want {
			t.Errorf("got  %v\nwant %s", err, test.want)
		}
	}
	if _, err := h.Start(deadline(t), sdk.Translator, ""); !errors.Is(err, fault.FailedPrecondition) || !strings.Contains(err.Error(), "none is chosen") {
		t.Errorf("error %v", err)
	}
}

func TestPluginOfAnotherKindIsRefused(t *testing.T) {
	h := newHost(t, config.Plugins{Dirs: []string{install(t, "other")}})
	if _, err := h.Start(deadline(t), sdk.Network, "other"); !errors.Is(err, fault.Invalid) {
		t.Errorf("error %v", err)
	}
}

func TestPathThatIsNoPluginIsRefused(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	h := newHost(t, config.Plugins{})
	tests := []struct {
		path   string
		reason fault.Reason
		want   string
	}{
		{filepath.Join(dir, "nothing"), fault.NotFound, "there is no such file"},
		{plain, fault.Invalid, "it is not executable"},
		{dir + "/", fault.Invalid, "it is not a file"},
	}
	for _, test := range tests {
		if _, err := h.Start(deadline(t), sdk.Network, test.path); !errors.Is(err, test.reason) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v", test.path, err)
		}
	}
}

func TestPluginThatOthersCanChangeIsNotStarted(t *testing.T) {
	dir := t.TempDir()
	path := script(t, dir, "loose", "touch "+filepath.Join(dir, "ran"))
	h := newHost(t, config.Plugins{Dirs: []string{dir}})
	refused := func(what string) {
		t.Helper()
		for _, choice := range []string{"loose", path} {
			if _, err := h.Start(deadline(t), sdk.Network, choice); !errors.Is(err, fault.PermissionDenied) || !strings.Contains(err.Error(), "chmod o-w") {
				t.Errorf("%s, %q: error %v", what, choice, err)
			}
		}
		listed, err := h.List(deadline(t))
		if err != nil || len(listed) != 1 || !errors.Is(listed[0].Err, fault.PermissionDenied) {
			t.Errorf("%s: listed %+v, %v", what, listed, err)
		}
	}
	if err := os.Chmod(path, 0o757); err != nil {
		t.Fatal(err)
	}
	refused("the file")
	if err := errors.Join(os.Chmod(path, 0o755), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	refused("its directory")
	if _, err := os.Lstat(filepath.Join(dir, "ran")); err == nil {
		t.Error("it was started")
	}
}

func TestPinnedPluginIsStartedOnlyWithItsDigest(t *testing.T) {
	dir := install(t, "other")
	content, err := os.ReadFile(filepath.Join(dir, "other"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	right, wrong := hex.EncodeToString(sum[:]), strings.Repeat("0", 64)
	tests := []struct {
		name string
		pins map[string]string
		ok   bool
	}{
		{"by name", map[string]string{"other": right}, true},
		{"wrong by name", map[string]string{"other": wrong}, false},
		{"wrong by path", map[string]string{filepath.Join(dir, "other"): wrong}, false},
		{"another's", map[string]string{"elsewhere": wrong}, true},
	}
	for _, test := range tests {
		h := newHost(t, config.Plugins{Dirs: []string{dir}, SHA256: test.pins})
		p, err := h.Start(deadline(t), sdk.Hypervisor, "other")
		if (err == nil) != test.ok || (!test.ok && !errors.Is(err, fault.DigestMismatch)) {
			t.Errorf("%s: error %v", test.name, err)
		}
		if err == nil {
			if err := p.Close(deadline(t)); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestListShowsGoodAndBrokenPlugins(t *testing.T) {
	dir := install(t, "qemu-hypervisor", "other", "oci-registry")
	script(t, dir, "garbage", "echo hello")
	script(t, dir, "loud", "echo it is all wrong >&2; exit 3")
	h := newHost(t, config.Plugins{Dirs: []string{dir}})
	listed, err := h.List(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range listed {
		switch {
		case l.Info == nil && l.Err != nil:
			got = append(got, l.Name+" broken")
		case l.Selected:
			got = append(got, l.Name+" "+string(l.Info.Kind)+" selected")
		default:
			got = append(got, l.Name+" "+string(l.Info.Kind))
		}
	}
	want := []string{"garbage broken", "loud broken", "oci-registry image-source selected", "other hypervisor", "qemu-hypervisor hypervisor selected"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if l, err := h.Inspect(deadline(t), "loud"); err == nil || !strings.Contains(err.Error(), "it is all wrong") {
		t.Errorf("inspected %+v, %v", l, err)
	}
	if l, err := h.Inspect(deadline(t), "other"); err != nil || l.Info.Version != "1.0" {
		t.Errorf("inspected %+v, %v", l, err)
	}
	if _, err := h.Inspect(deadline(t), "nope"); !errors.Is(err, fault.NotFound) {
		t.Errorf("error %v", err)
	}
}

func TestPluginThatHangsEndsWithTheCallersDeadline(t *testing.T) {
	dir := t.TempDir()
	script(t, dir, "hanging", "exec sleep 1000")
	h := newHost(t, config.Plugins{Dirs: []string{dir}})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := h.Start(ctx, sdk.Network, "hanging"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestBuiltinPluginsAreBesideTheProgramBehindLinks(t *testing.T) {
	prefix := t.TempDir()
	program := filepath.Join(prefix, "bin", "vzctl")
	link := filepath.Join(t.TempDir(), "vz")
	if err := errors.Join(os.Mkdir(filepath.Join(prefix, "bin"), 0o755), os.WriteFile(program, nil, 0o755), os.Symlink(program, link)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{program, link} {
		if got, err := BuiltinDir(path); err != nil || got != filepath.Join(prefix, "libexec", "vzctl", "plugins") {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
}
