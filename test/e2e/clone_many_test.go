package e2e

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// traces is what a container could leave on a host: files below the root, in the runtime directory and in the one for temporary files, and mounts. Files that are
// there for all containers, and change with each, are named without regard to what is in them.
func (p *person) traces(runtime, temporary string) map[string]bool {
	p.t.Helper()
	found := map[string]bool{}
	for _, dir := range []string{p.root, runtime, temporary} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			found[path] = true
			return err
		})
		if err != nil {
			p.t.Fatal(err)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		found["mount "+strings.Fields(line)[4]] = true
	}
	return found
}

// TestE2EClonesLeaveNothing runs clones one after the other, and then at once. VZCTL_E2E_CLONES says how many, 8 if it is not set; at most 40 are run at once.
func TestE2EClonesLeaveNothing(t *testing.T) {
	many := 8
	if text := os.Getenv("VZCTL_E2E_CLONES"); text != "" {
		var err error
		if many, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	p := alone(t)
	runtime, err := os.MkdirTemp("", "vz") // short enough for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(runtime) })
	temporary := t.TempDir()
	p.env = append(p.env, "XDG_RUNTIME_DIR="+runtime, "TMPDIR="+temporary)
	// A network with fewer addresses than there are clones, so that none may be kept.
	config := filepath.Join(p.root, "config/vzctl/config.toml")
	if err := os.MkdirAll(filepath.Dir(config), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte("[networks.small]\nsubnet_v4 = \"10.9.0.0/29\"\n[defaults]\nhypervisor_options = { standby = \"off\" }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"small", "default"} {
		p.must("run", "--rm", "--network", network, p.desk.busybox, "true") // makes the template, and starts the network
	}
	p.nothingRuns()
	memory, err := filepath.Glob(filepath.Join(p.root, "cache/qemu-hypervisor/templates/*/memory"))
	if err != nil || len(memory) != 1 {
		t.Fatalf("there are templates %v, %v", memory, err)
	}
	err = filepath.WalkDir(filepath.Dir(filepath.Dir(memory[0])), func(path string, entry fs.DirEntry, err error) error {
		if info, infoErr := entry.Info(); err == nil && (infoErr != nil || info.Mode().Perm()&0o077 != 0 || info.Sys().(*syscall.Stat_t).Uid != uint32(os.Geteuid())) {
			t.Errorf("others can use %s, %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	p.endReserve()
	before, digest := p.traces(runtime, temporary), digestOf(t, memory[0])
	processes := p.processes()

	for i := range many {
		if got := p.must("run", "--rm", "--network", "small", p.desk.busybox, "echo", strconv.Itoa(i)); got != strconv.Itoa(i)+"\n" {
			t.Fatalf("clone %d printed %q", i, got)
		}
	}
	var all sync.WaitGroup
	for i := range min(many, 40) {
		all.Go(func() {
			if r := p.vzctl("run", "--rm", p.desk.busybox, "echo", strconv.Itoa(i)); r.code != 0 || r.stdout != strconv.Itoa(i)+"\n" {
				t.Errorf("of %d at once, number %d: exit code %d, %q, %q", min(many, 40), i, r.code, r.stdout, r.stderr)
			}
		})
	}
	all.Wait()

	p.nothingRuns()
	p.endReserve()
	after := p.traces(runtime, temporary)
	for path := range after {
		if !before[path] {
			t.Errorf("left behind: %s", path)
		}
	}
	if left := p.processes(); len(left) > len(processes) {
		t.Errorf("left running: %v; before there were %v", slices.Collect(maps.Values(left)), slices.Collect(maps.Values(processes)))
	}
	if digestOf(t, memory[0]) != digest {
		t.Error("the template has changed")
	}
	if listed := p.must("ls", "-aq"); listed != "" {
		t.Errorf("ls shows %s", listed)
	}
}

func digestOf(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}
