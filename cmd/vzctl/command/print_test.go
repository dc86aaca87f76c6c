package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/engine"
	"github.com/vzctl/vzctl/core/health"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/kernel"
)

var update = flag.Bool("update", false, "write testdata and docs/cli.md anew")

// golden compares with a file under testdata, or another path.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("differs from %s (%v); if that is meant, run the test with -update\n%s", path, err, got)
	}
}

func at(ago time.Duration) *time.Time {
	t := now.Add(-ago)
	return &t
}

// full is an engine that knows one of everything, and one that knows little.
func full() *fake {
	code := 3
	info := sdk.Info{Name: "hv", Version: "1", Kind: sdk.Hypervisor, ProtocolVersions: []uint32{1, 2}, Platforms: []string{"linux/amd64"},
		Description: "runs VMs", Capabilities: map[string][]string{"accelerator": {"kvm", "tcg"}}}
	return &fake{
		templates: []hypervisor.Template{
			{ID: "0123456789abcdef0123456789abcdef", Description: "amd64 by tcg, 1 CPUs, 576 MiB", SizeBytes: 70 << 20, Made: *at(50 * time.Hour), Used: *at(time.Minute)},
			{ID: "ffffffffffffffffffffffffffffffff", SizeBytes: 1 << 20, Made: *at(50 * time.Hour), Used: *at(50 * time.Hour), Damaged: true},
			{ID: "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee", Description: "old", SizeBytes: 1 << 20, Made: *at(1000 * time.Hour), Used: *at(999 * time.Hour)},
		},
		verified: []engine.VerifiedTemplate{
			{Template: hypervisor.Template{ID: "0123456789abcdef0123456789abcdef", Description: "amd64 by tcg, 1 CPUs, 576 MiB"}, VerifiedTemplate: hypervisor.VerifiedTemplate{Compared: true}},
			{Template: hypervisor.Template{ID: "ffffffffffffffffffffffffffffffff", Description: "bad"}, VerifiedTemplate: hypervisor.VerifiedTemplate{Compared: true, Damage: "its content\x1b[2J is not what it was"}},
			{Template: hypervisor.Template{ID: "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee", Description: "new"}},
		},
		containers: []engine.Container{
			{ID: "aaaaaaaaaaaaaaaaaaaa", Name: "old", Image: "busybox:1", State: "stopped", ExitCode: &code, Reason: "oom", Created: *at(50 * time.Hour), Args: []string{"sh"}},
			{ID: "bbbbbbbbbbbbbbbbbbbb", Name: "web", Image: "web", State: "running", PID: 42, Health: &engine.Health{State: health.State{Status: health.Healthy}}, Created: *at(3 * time.Minute),
				Args: []string{"/bin/serve", "--with", "a <long> list of arguments"}, Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.64.2/24")}},
			{ID: "cccccccccccccccccccc", Name: "fresh\x1b[2J", Image: "web", State: "created", Created: now},
		},
		images: []engine.Image{
			{Reference: "docker.io/library/busybox:1", Name: "busybox:1", ID: "sha256:0123456789abcdef", Root: "sha256:11", Manifest: "sha256:22", Platform: "linux/amd64",
				Size: 2_345_678, Created: at(400 * 24 * time.Hour)},
			{Reference: "/dir:tag", ID: "sha256:fedcba9876543210", Platform: "linux/arm64"},
		},
		checks: []engine.Check{
			{Name: "qemu", OK: true, Detail: "7.2"},
			{Name: "kvm", Detail: "too slow", Fix: "nothing", Optional: true},
			{Name: "kernel", Detail: "none found", Fix: "make kernel"},
		},
		plugins: []engine.PluginView{
			{Name: "hv", Kind: sdk.Hypervisor, Version: "1", Path: "/p/hv", Default: true, Info: &info},
			{Name: "broken", Path: "/p/broken", Error: "it says nothing\nat all"},
		},
	}
}

// inspecting is full with what inspects.
type inspecting struct{ *fake }

func (i inspecting) Inspect(_ context.Context, ref string) (engine.Container, error) {
	for _, c := range i.containers {
		if c.Name == ref {
			return c, nil
		}
	}
	return engine.Container{}, errors.New("no container \"" + ref + "\"")
}

func (i inspecting) InspectImage(context.Context, string, string) (engine.Image, error) {
	return i.images[0], nil
}

func (i inspecting) InspectPlugin(context.Context, string) (engine.PluginView, error) {
	return i.plugins[0], nil
}

func (i inspecting) ListNetworks(context.Context) ([]engine.NetworkView, error) {
	return []engine.NetworkView{{Name: "default", Plugin: "user-network", Subnet: "192.168.64.0/24", SubnetV6: "fd64:1:2:3::/64", Running: true, Endpoints: []string{"bb"}}}, nil
}

func (i inspecting) ListKernels(context.Context) ([]kernel.Kernel, error) {
	return []kernel.Kernel{{Name: "default", Version: "6.1.1", Arch: "amd64", Format: "elf-pvh", Path: "/k/vmlinux"}}, nil
}

func (i inspecting) SystemInfo(context.Context) (engine.SystemInfo, error) {
	return engine.SystemInfo{Version: "1.2.3", Root: "/r", RuntimeDir: "/run/v", OS: "linux", Arch: "amd64", CPUs: 2, Containers: map[string]int{"running": 1, "created": 2},
		Images: 2, Plugins: map[string]string{"hypervisor": "hv"}, DiskBytes: 1e9}, nil
}

func (i inspecting) DiskUsage(context.Context) ([]engine.DiskUsage, error) {
	return []engine.DiskUsage{{Kind: "images", Total: 3, Active: 1, SizeBytes: 5e8, FreeableBytes: 3e8}, {Kind: "templates", Total: 1, SizeBytes: 6e7, FreeableBytes: 6e7}}, nil
}

func TestWhatIsPrinted(t *testing.T) {
	for _, test := range []struct {
		line string
		code int
	}{
		{"ls", 0},
		{"ps -a --no-trunc", 0},
		{"ls -aq", 0},
		{"ls -a --format json", 0},
		{"ls --format json", 0},
		{"inspect web nope old", 1},
		{"inspect web --format table", 0},
		{"inspect --oci web", 0},
		{"image ls", 0},
		{"images -q", 0},
		{"image ls --format json", 0},
		{"image inspect busybox", 0},
		{"network ls", 0},
		{"network ls --format json", 0},
		{"kernel ls", 0},
		{"kernel ls --format json", 0},
		{"plugin ls", 0},
		{"plugin ls --format json", 0},
		{"plugin inspect hv", 0},
		{"plugin inspect hv --format table", 0},
		{"system info", 0},
		{"system df", 0},
		{"system df --format json", 0},
		{"system info --format json", 0},
		{"system template ls", 0},
		{"system template ls -q", 0},
		{"system template ls --format json", 0},
		{"system template rm 0123456789abcdef0123456789abcdef", 0},
		{"system template prune", 0},
		{"system template prune --unused-for 10s", 0},
		{"system template warm --cpus 2 -m 1g --network none", 0},
		{"system template verify", 1},
		{"system template verify --format json", 1},
		{"doctor", 1},
		{"doctor --format json", 1},
	} {
		t.Run(test.line, func(t *testing.T) {
			d := newDesk(nil)
			d.Open = func(context.Context, engine.Options) (engine.API, error) { return inspecting{full()}, nil }
			if code := d.run(t, strings.Fields(test.line)...); code != test.code {
				t.Errorf("exit code %d; want %d", code, test.code)
			}
			if strings.Contains(test.line, "json") && !json.Valid(d.stdout.Bytes()) {
				t.Error("not JSON")
			}
			golden(t, filepath.Join("testdata", strings.ReplaceAll(test.line, " ", "_")+".txt"), append(d.stdout.Bytes(), d.stderr.Bytes()...))
		})
	}
}

func TestAnEmptyListIsAnArray(t *testing.T) {
	for _, line := range []string{"ls --format json", "image ls --format json", "network ls --format json", "plugin ls --format json", "doctor --format json", "system template ls --format json", "system template verify --format json"} {
		d := newDesk(&fake{})
		code := d.run(t, strings.Fields(line)...)
		d.wants(t, code, 0, "[]\n", "")
	}
}

func TestInspectOfNothingPrintsAnEmptyArray(t *testing.T) {
	d := newDesk(&fake{missing: map[string]bool{"x": true}})
	code := d.run(t, "inspect", "x")
	d.wants(t, code, 1, "[]\n", "vzctl: find container \"x\": not found\n")
}

func TestVersion(t *testing.T) {
	want := "vzctl 1.2.3 (" + runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH + ")\n"
	for _, line := range []string{"version", "--version", "-v"} {
		d := newDesk(nil)
		d.Open = func(context.Context, engine.Options) (engine.API, error) { panic("version needs no engine") }
		code := d.run(t, line)
		d.wants(t, code, 0, want, "")
	}
	d := newDesk(nil)
	if d.run(t, "version", "--format", "json"); !json.Valid(d.stdout.Bytes()) {
		t.Errorf("stdout %q", d.stdout.String())
	}
}

func TestRootIsFromTheFlagOrTheEnvironment(t *testing.T) {
	t.Setenv("VZCTL_ROOT", "/from/env")
	for line, want := range map[string]string{"ls": "/from/env", "--root /flag ls": "/flag"} {
		d := newDesk(nil)
		d.Open = func(_ context.Context, options engine.Options) (engine.API, error) {
			if options.Root != want || options.Version != "1.2.3" || options.Log == nil {
				t.Errorf("%s: opened with %+v", line, options)
			}
			return &fake{}, nil
		}
		d.run(t, strings.Fields(line)...)
	}
}

func TestAnEngineThatDoesNotOpenIsOneLine(t *testing.T) {
	d := newDesk(nil)
	d.Open = func(context.Context, engine.Options) (engine.API, error) {
		return nil, errors.New("open /r: read-only")
	}
	code := d.run(t, "ls")
	d.wants(t, code, 125, "", "vzctl: open /r: read-only\n")
}

func TestPullAndBuild(t *testing.T) {
	for line, want := range map[string]string{
		"image pull busybox --platform linux/arm64 --image-source p": "pull busybox linux/arm64 p",
		"pull -q busybox":                       "pull busybox  ",
		"rootfs build busybox -o out.ext4":      "rootfs busybox  out.ext4",
		"rootfs build -oout.ext4 ./layout:tag ": "rootfs ./layout:tag  out.ext4",
	} {
		f := &fake{}
		if code := newDesk(f).run(t, strings.Fields(line)...); code != 0 || f.noted() != want {
			t.Errorf("%s: exit code %d, calls %q; want %q", line, code, f.noted(), want)
		}
	}
}

func TestVerifyPrintsEachCase(t *testing.T) {
	verify := func(results ...Case) func(context.Context, string, Fixtures, func(Case)) error {
		return func(_ context.Context, path string, fixtures Fixtures, report func(Case)) error {
			if path != "/p" || fixtures.Kernel != "/k" {
				t.Errorf("verify %s with %+v", path, fixtures)
			}
			for _, result := range results {
				report(result)
			}
			return nil
		}
	}
	d := newDesk(nil)
	d.Verify = verify(Case{Name: "info says a name"}, Case{Name: "start boots", NotRun: "no kernel"})
	code := d.run(t, "plugin", "verify", "/p", "--kernel", "/k")
	d.wants(t, code, 0, pad("info says a name")+"ok\n"+pad("start boots")+"not run: no kernel\n1 ok, 0 failed, 1 not run\n", "")

	d = newDesk(nil)
	d.Verify = verify(Case{Name: "start boots", Err: errors.New("it\ndid not")})
	code = d.run(t, "plugin", "verify", "/p", "--kernel", "/k")
	d.wants(t, code, 1, pad("start boots")+"FAILED: it; did not\n0 ok, 1 failed, 0 not run\n", "")
}

func pad(name string) string { return name + strings.Repeat(" ", 61-len(name)) }

func TestAges(t *testing.T) {
	for ago, want := range map[time.Duration]string{
		-time.Hour: "now", 0: "now", time.Second: "1 second ago", 59 * time.Second: "59 seconds ago", 3 * time.Minute: "3 minutes ago", time.Hour: "1 hour ago",
		50 * time.Hour: "2 days ago", 8 * 24 * time.Hour: "1 week ago", 70 * 24 * time.Hour: "2 months ago", 800 * 24 * time.Hour: "2 years ago",
	} {
		if got := age(now, now.Add(-ago)); got != want {
			t.Errorf("%v ago reads %q; want %q", ago, got, want)
		}
	}
}

func TestTheManualIsCurrent(t *testing.T) {
	t.Setenv("VZCTL_ROOT", "/elsewhere") // the manual is the same for everyone
	d := newDesk(nil)
	if code := d.run(t, "docs"); code != 0 {
		t.Fatalf("exit code %d: %s", code, d.stderr.String())
	}
	golden(t, "../../../docs/cli.md", d.stdout.Bytes())
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		d := newDesk(nil)
		if code := d.run(t, "completion", shell); code != 0 || !strings.Contains(d.stdout.String(), "vzctl") {
			t.Errorf("%s: exit code %d, %q", shell, code, d.stdout.String())
		}
	}
	defer func(args []string) { os.Args = args }(os.Args)
	for line, want := range map[string]string{"": "run", "image": "pull", "run --mem": "--memory", "stop": "web", "rm -f old": "web", "run -it": "busybox:1"} {
		d := newDesk(full())
		args := append(strings.Fields(line), "--generate-bash-completion")
		os.Args = append([]string{"vzctl"}, args...) // the library looks there
		d.run(t, args...)
		if !strings.Contains(d.stdout.String(), want) {
			t.Errorf("after %q: %q lacks %q", line, d.stdout.String(), want)
		}
	}
}

func TestHelpSaysHowToCall(t *testing.T) {
	for line, want := range map[string]string{
		"run --help": "vzctl run [command options] IMAGE [COMMAND [ARG...]]", "help exec": "vzctl exec", "image --help": "vzctl image", "": "COMMANDS", "rm x --help": "vzctl rm",
	} {
		d := newDesk(nil)
		if code := d.run(t, strings.Fields(line)...); code != 0 || !strings.Contains(d.stdout.String(), want) {
			t.Errorf("%q: exit code %d, %q lacks %q", line, code, d.stdout.String(), want)
		}
	}
}

func TestAContainerWhoseCheckpointIsGoneIsNotShownAsOneToRestore(t *testing.T) {
	saved := engine.Container{State: "stopped", Reason: "checkpointed", Checkpoint: &engine.Checkpoint{}}
	if got := state(saved); got != "stopped checkpointed" {
		t.Errorf("with its checkpoint it is %q", got)
	}
	saved.Checkpoint = nil
	if got := state(saved); got != "stopped" {
		t.Errorf("without its checkpoint it is %q", got)
	}
}
