package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vzctl/vzctl/test/fixtures/faulty"
	"github.com/vzctl/vzctl/test/fixtures/image"
)

// fails runs a command that must fail with one line that has all the words, print nothing else, and leave nothing.
func (p *person) fails(words []string, args ...string) {
	p.t.Helper()
	r := p.vzctl(args...)
	if r.code != 125 {
		p.t.Errorf("vzctl %s: exit code %d, want 125; stderr %s", strings.Join(args, " "), r.code, r.stderr)
	}
	if r.stdout != "" || strings.Count(r.stderr, "\n") != 1 || !strings.HasPrefix(r.stderr, "vzctl: ") {
		p.t.Errorf("vzctl %s: want one line of error, stdout %q, stderr %q", strings.Join(args, " "), r.stdout, r.stderr)
	}
	for _, word := range words {
		if !strings.Contains(strings.ToLower(r.stderr), strings.ToLower(word)) {
			p.t.Errorf("vzctl %s: %q does not say %q", strings.Join(args, " "), strings.TrimSpace(r.stderr), word)
		}
	}
	if left := p.must("ls", "-aq"); left != "" {
		p.t.Errorf("vzctl %s: left container %s", strings.Join(args, " "), left)
	}
	p.nothingRuns()
	p.t.Logf("%s", strings.TrimSpace(r.stderr))
}

func TestE2EBadInput(t *testing.T) {
	p := alone(t)
	busybox := p.desk.busybox
	notAKernel := filepath.Join(p.root, "not-a-kernel")
	if err := os.WriteFile(notAKernel, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.must("image", "pull", busybox)
	long := strings.Repeat("x", 65)
	tests := []struct {
		name  string
		words []string
		args  []string
	}{
		{"no such image", []string{"no-such", "no such image"}, []string{"run", p.desk.registry.Addr + "/no-such:latest", "true"}},
		{"no such tag", []string{"no-such", "no such image"}, []string{"run", p.desk.registry.Addr + "/busybox:no-such", "true"}},
		{"an image that is never pulled", []string{"other", "pull"}, []string{"run", "--pull", "never", "other:latest", "true"}},
		{"a reference that is none", []string{"UPPER"}, []string{"run", "UPPER", "true"}},
		{"a registry that is down", []string{"127.0.0.1:1", "refused"}, []string{"run", "127.0.0.1:1/busybox:latest", "true"}},
		{"no matching platform", []string{"linux/arm64", "amd64"}, []string{"run", "--platform", "linux/arm64", busybox, "true"}},
		{"a platform that is none", []string{"nonsense"}, []string{"run", "--platform", "nonsense", busybox, "true"}},
		{"an unknown hypervisor", []string{"no-such", "qemu-hypervisor"}, []string{"run", "--hypervisor", "no-such", busybox, "true"}},
		{"an unknown image source", []string{"no-such", "oci-registry"}, []string{"run", "--pull", "always", "--image-source", "no-such", busybox, "true"}},
		{"a plugin of the wrong kind", []string{"hypervisor"}, []string{"run", "--hypervisor", "kernel-local", busybox, "true"}},
		{"an option nobody knows", []string{"no-such-option"}, []string{"run", "--hypervisor-opt", "no-such-option=1", busybox, "true"}},
		{"a kernel that is not there", []string{"/no/such/kernel"}, []string{"run", "--kernel", "/no/such/kernel", busybox, "true"}},
		{"a kernel that is none", []string{notAKernel, "kernel"}, []string{"run", "--kernel", notAKernel, busybox, "true"}},
		{"too little memory", []string{"memory", "32m"}, []string{"run", "-m", "1m", busybox, "true"}},
		{"more memory than the host has", []string{"memory", "this host has", "ask for less"}, []string{"run", "-m", "15t", busybox, "true"}},
		{"more CPUs than there can be", []string{"cpus"}, []string{"run", "--cpus", "100000", busybox, "true"}},
		{"a network that is not there", []string{"no-such-network"}, []string{"run", "--network", "no-such-network", busybox, "true"}},
		{"a name with bad characters", []string{"bad/name"}, []string{"run", "--name", "bad/name", busybox, "true"}},
		{"a name of 65 characters", []string{"65"}, []string{"run", "--name", long, busybox, "true"}},
		{"a user that is not there", []string{"no-such-user"}, []string{"run", "--rm", "-u", "no-such-user", busybox, "true"}},
		{"a working directory that is relative", []string{"relative"}, []string{"run", "-w", "relative", busybox, "true"}},
		{"an environment that is none", []string{"=x"}, []string{"run", "-e", "=x", busybox, "true"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			q := *p
			q.t = t
			q.fails(test.words, test.args...)
		})
	}
}

func TestE2EANameIsTakenOnce(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("create", "--name", name, p.desk.busybox, "true")
	r := p.vzctl("create", "--name", name, p.desk.busybox, "true")
	if r.code != 125 || !strings.Contains(r.stderr, name) {
		t.Errorf("exit code %d, stderr %q", r.code, r.stderr)
	}
}

func TestE2ERegistriesThatMisbehave(t *testing.T) {
	words := map[faulty.Fault]string{
		faulty.HTML: "html", faulty.WrongDigest: "digest", faulty.Truncated: "", faulty.WrongLength: "", faulty.ServerError: "500",
		faulty.Unauthorized: "", faulty.RateLimited: "", faulty.ManyRedirect: "redirect",
	}
	for _, fault := range faulty.Faults() {
		t.Run(string(fault), func(t *testing.T) {
			p := alone(t)
			bad := faulty.Start(p.desk.registry.Addr, fault)
			defer bad.Close()
			var expected []string
			if words[fault] != "" {
				expected = append(expected, words[fault])
			}
			p.fails(expected, "run", bad.Addr+"/busybox:latest", "true")
			if got := p.must("image", "ls", "-q"); got != "" {
				t.Errorf("an image is left: %s", got)
			}
			// The same root is fine with a registry that is.
			p.must("image", "pull", p.desk.busybox)
		})
	}
}

func TestE2EQEMUIsMissing(t *testing.T) {
	p := alone(t)
	p.must("image", "pull", p.desk.busybox)
	p.env = append(p.env, "PATH=/nonexistent")
	p.fails([]string{"qemu-system", "install"}, "run", p.desk.busybox, "true")
	r := p.vzctl("doctor")
	if r.code == 0 || !strings.Contains(r.stdout+r.stderr, "qemu-system") {
		t.Errorf("doctor: exit code %d, %s%s", r.code, r.stdout, r.stderr)
	}
}

func TestE2EARootThatCannotBeWritten(t *testing.T) {
	p := alone(t)
	p.env = append(p.env, "VZCTL_ROOT=/proc/vzctl")
	r := p.vzctl("run", p.desk.busybox, "true")
	if r.code != 125 || !strings.Contains(r.stderr, "/proc/vzctl") || strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("exit code %d, stderr %q", r.code, r.stderr)
	}
}

// small returns a file system of so many bytes for a root.
func small(t *testing.T, p *person, options string) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small file system")
	}
	if err := syscall.Mount("tmpfs", p.root, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The network's daemon has its log there.
		if err := syscall.Unmount(p.root, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func TestE2ETheDiskIsFullWhilePulling(t *testing.T) {
	p := alone(t)
	small(t, p, "size=512k,mode=700")
	p.fails([]string{"space"}, "run", p.desk.busybox, "true")
}

func TestE2ETheDiskIsFullWhileBuildingTheRootFileSystem(t *testing.T) {
	p := alone(t)
	large := image.Image{Arch: "amd64"}
	noise, err := os.ReadFile(p.desk.vzctl)
	if err != nil {
		t.Fatal(err)
	}
	layer, err := image.NewLayer(image.File("a", 0o644, string(noise)), image.File("b", 0o644, strings.Repeat("easy to compress", 4<<20)))
	if err != nil {
		t.Fatal(err)
	}
	large.Layers = []image.Layer{layer}
	large.Config.Cmd = []string{"/a"}
	repository, err := p.desk.registry.Repository("large")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := large.Push(context.Background(), repository, "latest"); err != nil {
		t.Fatal(err)
	}
	small(t, p, "size=32m,mode=700")
	p.fails([]string{"space"}, "run", p.desk.registry.Addr+"/large:latest")
}

// TestE2EControlC interrupts a run at many moments: whenever it is, one line at most is said and nothing is left.
func TestE2EControlC(t *testing.T) {
	p := alone(t)
	for _, after := range []time.Duration{5, 20, 50, 100, 200, 350, 500, 700, 1000, 1500, 2500} {
		t.Run((after * time.Millisecond).String(), func(t *testing.T) {
			q := *p
			q.t = t
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			cmd := p.command(ctx, "run", "--rm", "--pull", "always", p.desk.busybox,
				"sh", "-c", "trap 'exit 130' INT; sleep 1000 & wait")
			var stderr strings.Builder
			cmd.Stderr = &stderr
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(after * time.Millisecond) // the moment is what is tried
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			// As a person does whose first Ctrl-C seems to do nothing, and as a terminal does: to the whole group.
			for waiting := true; waiting; {
				if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) {
					t.Fatal(err)
				}
				select {
				case err := <-ended:
					if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
						t.Fatal(err)
					}
					waiting = false
				case <-time.After(time.Second):
				}
			}
			if code := cmd.ProcessState.ExitCode(); code == 0 {
				t.Errorf("exit code %d, stderr %q", code, stderr.String())
			}
			q.nothingRuns()
			if left := q.must("ls", "-aq"); left != "" {
				t.Errorf("left container %s", left)
			}
		})
	}
}
