package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// templates returns what there is of templates below the root: whole ones by name, and what else lies there.
func (p *person) templates() (whole, rest []string) {
	p.t.Helper()
	entries, err := os.ReadDir(filepath.Join(p.root, "cache/qemu-hypervisor/templates"))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range entries {
		switch {
		case strings.HasSuffix(e.Name(), ".lock") && len(e.Name()) == 37:
		case len(e.Name()) == 32:
			whole = append(whole, e.Name())
		default:
			rest = append(rest, e.Name())
		}
	}
	return whole, rest
}

// cloned says whether a container's VM was cloned: then no kernel was booted for it.
func (p *person) cloned(name string) bool {
	p.t.Helper()
	var inspected []struct{ Timeline []struct{ Name string } }
	if err := json.Unmarshal([]byte(p.must("inspect", name)), &inspected); err != nil || len(inspected) != 1 {
		p.t.Fatalf("inspect: %v", err)
	}
	for _, step := range inspected[0].Timeline {
		if step.Name == "kernel" {
			return false
		}
	}
	return true
}

// log returns the warnings of a container's supervisor.
func (p *person) log() (lines []string) {
	p.t.Helper()
	logs, err := filepath.Glob(filepath.Join(p.root, "sandboxes/*/supervisor.log"))
	if err != nil || len(logs) != 1 {
		p.t.Fatalf("there are logs %v, %v", logs, err)
	}
	text, err := os.ReadFile(logs[0])
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

// TestE2EContainerStartsThoughThereIsNoRoomForATemplate has file systems for templates that are full at once, while the memory is written, and at its end.
func TestE2EContainerStartsThoughThereIsNoRoomForATemplate(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	for _, size := range []string{"4k", "1m", "16m", "32m"} {
		t.Run(size, func(t *testing.T) {
			p := alone(t)
			cache := filepath.Join(p.root, "cache")
			if err := os.Mkdir(cache, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mount("tmpfs", cache, "tmpfs", 0, "mode=700,size="+size); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := syscall.Unmount(cache, syscall.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
			name := p.name()
			if got := p.must("run", "--name", name, p.desk.busybox, "echo", "hi"); got != "hi\n" {
				t.Errorf("it printed %q", got)
			}
			if p.cloned(name) {
				t.Error("it was cloned")
			}
			if lines := p.log(); len(lines) != 1 || !strings.Contains(lines[0], "no space left on device") {
				t.Errorf("the supervisor's log says %q", lines)
			}
			if whole, rest := p.templates(); len(whole)+len(rest) != 0 {
				t.Errorf("left are %v and %v", whole, rest)
			}
			p.nothingRuns()
		})
	}
}

// TestE2EKillWhileATemplateIsMadeLeavesNoHalfTemplate kills a QEMU, its plugin or its supervisor when the making has come to some point. The next start makes the
// template, or uses it if it was whole.
func TestE2EKillWhileATemplateIsMadeLeavesNoHalfTemplate(t *testing.T) {
	blocks := func(path string) int64 {
		info, err := os.Stat(path)
		if err != nil {
			return 0
		}
		return info.Sys().(*syscall.Stat_t).Blocks
	}
	points := map[string]func(draft string) bool{
		"the first page": func(draft string) bool { return blocks(filepath.Join(draft, "memory")) > 0 },
		"20 MiB":         func(draft string) bool { return blocks(filepath.Join(draft, "memory")) > 20<<11 },
		"the state":      func(draft string) bool { return blocks(filepath.Join(draft, "state")) > 0 },
	}
	for _, c := range []struct{ victim, at string }{
		{"qemu-system-", "the first page"}, {"qemu-system-", "20 MiB"}, {"qemu-system-", "the state"}, {"plugins/qemu-hypervisor", "20 MiB"},
		{"plugins/qemu-hypervisor", "the state"}, {" supervise ", "20 MiB"},
	} {
		t.Run(strings.TrimSpace(c.victim)+" at "+c.at, func(t *testing.T) {
			p := alone(t)
			name := p.name()
			p.killWhenMaking(name, c.victim, points[c.at])
			p.vzctl("rm", "-f", name)
			p.nothingRuns()
			again := p.name()
			if got := p.must("run", "--name", again, p.desk.busybox, "echo", "hi"); got != "hi\n" {
				t.Errorf("the next start printed %q", got)
			}
			if !p.cloned(again) {
				t.Errorf("the next start was not cloned: %q", p.log())
			}
			if whole, rest := p.templates(); len(whole) != 1 || len(rest) != 0 {
				t.Errorf("there are templates %v, and %v", whole, rest)
			}
		})
	}
}

// killWhenMaking starts a container, kills what makes its template when a point is reached, and returns when the command has ended. If the template is whole before that,
// it kills all the same.
func (p *person) killWhenMaking(name, victim string, reached func(draft string) bool) {
	p.t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.vzctl("run", "--name", name, p.desk.busybox, "true") // how that ends is another test's
	}()
	for {
		drafts, _ := filepath.Glob(filepath.Join(p.root, "cache/qemu-hypervisor/templates/making-*"))
		whole, _ := filepath.Glob(filepath.Join(p.root, "cache/qemu-hypervisor/templates/*/template.json"))
		if len(whole) > 0 || len(drafts) > 0 && reached(drafts[0]) {
			break
		}
		select {
		case <-ended:
			p.t.Fatal("no template was made")
		case <-time.After(time.Millisecond): // nobody tells how far QEMU is
		}
	}
	for pid, line := range p.processes() {
		if strings.Contains(line, victim) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
	}
	<-ended
}

// TestE2ETemplateOfAnotherQEMUOrKernelIsNotUsed replaces each of them by a file of the same content, as an upgrade would by another.
func TestE2ETemplateOfAnotherQEMUOrKernelIsNotUsed(t *testing.T) {
	p := alone(t)
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	prefix := filepath.Join(p.root, "prefix")
	bin := filepath.Join(prefix, "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, beside := range []string{"lib", "share"} { // where QEMU looks for its parts
		if err := os.Symlink(filepath.Join(filepath.Dir(filepath.Dir(qemu)), beside), filepath.Join(prefix, beside)); err != nil {
			t.Fatal(err)
		}
	}
	ours, kernel := filepath.Join(bin, filepath.Base(qemu)), filepath.Join(p.root, "vmlinux")
	install := func(from, to string) {
		t.Helper()
		if err := copyFile(from, to+".new", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(to+".new", to); err != nil {
			t.Fatal(err)
		}
	}
	original := strings.TrimSpace(p.must("kernel", "path"))
	install(qemu, ours)
	install(original, kernel)
	p.env = append(p.env, "PATH="+bin+":"+os.Getenv("PATH"))
	before := map[string]bool{}
	for i, upgrade := range []func(){func() {}, func() { install(qemu, ours) }, func() { install(original, kernel) }, func() {}} {
		upgrade()
		if got := p.must("run", "--rm", "--kernel", kernel, p.desk.busybox, "echo", "hi"); got != "hi\n" {
			t.Errorf("run %d printed %q", i, got)
		}
		whole, _ := p.templates()
		if want := min(i+1, 3); len(whole) != want {
			t.Errorf("after run %d there are %d templates; want %d", i, len(whole), want)
		}
		for _, key := range whole {
			before[key] = true
		}
	}
	if len(before) != 3 {
		t.Errorf("there were templates %v", before)
	}
}

func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return out.Close()
}
