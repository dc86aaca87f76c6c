package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/test/fixtures/image"
)

// seen is what the probe prints, see probe/main.go.
type seen struct {
	Differ                 map[string]string
	Mapping                string
	Secrets                map[string]uint32
	Uptime                 time.Duration
	Ticks                  uint64
	Monotonic, Realtime    time.Duration
	Stepped                bool
	MemoryMax, MemoryTotal uint64
	Serials, Sizes         map[string]string
}

// probeImage puts an image with the probe into the registry, and returns its reference.
func (d *desk) probeImage(t *testing.T) string { return d.imageWith(t, "probe") }

// imageWith puts an image with one of the programs of this directory into the registry, and returns its reference.
func (d *desk) imageWith(t *testing.T, program string, more ...image.Entry) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), program)
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./"+program)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	layer, layerErr := image.NewLayer(append(more, image.File("bin/"+program, 0o755, string(binary)))...)
	system, err := image.Busybox()
	repository, repositoryErr := d.registry.Repository(program)
	if err := errors.Join(layerErr, err, repositoryErr); err != nil {
		t.Fatal(err)
	}
	system.Layers = append(system.Layers, layer)
	if _, err := system.Push(context.Background(), repository, "latest"); err != nil {
		t.Fatal(err)
	}
	return d.registry.Addr + "/" + program + ":latest"
}

// look runs a probe and returns what it says. The container goes on until the test ends.
func (p *person) look(args ...string) seen {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	cmd := p.command(ctx, append(append([]string{"run", "--rm", "-i"}, args...), "probe")...)
	stdin, inErr := cmd.StdinPipe()
	stdout, outErr := cmd.StdoutPipe()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		p.t.Fatal(err)
	}
	line, readErr := bufio.NewReader(stdout).ReadString('\n')
	p.t.Cleanup(func() {
		defer cancel()
		_ = stdin.Close()
		_, _ = io.Copy(io.Discard, stdout)
		if err := cmd.Wait(); err != nil {
			p.t.Errorf("probe: %v\n%s", err, stderr.String())
		}
	})
	var s seen
	if err := errors.Join(readErr, json.Unmarshal([]byte(line), &s)); err != nil {
		p.t.Fatalf("the probe says %q: %v\n%s", line, err, stderr.String())
	}
	return s
}

// TestE2EClonesHaveNoSecretNorTimeInCommon asks the first process of each of three clones of one machine. A CPU with instructions that give random numbers could
// hide that the kernel got none from us.
func TestE2EClonesHaveNoSecretNorTimeInCommon(t *testing.T) {
	for name, options := range map[string][]string{
		"usual CPU": nil, "CPU without random numbers": {"--hypervisor-opt", "cpu=max,-erms,-fsrm,-rdrand,-rdseed"}, "three CPUs": {"--cpus", "3"},
	} {
		t.Run(name, func(t *testing.T) {
			p := alone(t)
			options := append([]string{"--hypervisor-opt", "standby=off", "-m", "512m"}, append(options, p.desk.probeImage(t))...)
			begun := time.Now()
			p.must(append(append([]string{"run", "--rm"}, options...), "true")...) // makes the template
			p.haveNothingInCommon(options, time.Since(begun), true)
		})
	}
}

// haveNothingInCommon compares three VMs that were cloned, or forked, of one that took so long to make. placed says that each has drawn for itself where code is placed.
func (p *person) haveNothingInCommon(options []string, making time.Duration, placed bool) {
	t := p.t
	t.Helper()
	var all []seen
	for i := range 3 {
		begun := time.Now()
		s := p.look(options...)
		took := time.Since(begun)
		// The clock of the template stood still from when it was saved. Had it gone on, it would show the time of the clones before this one as well.
		if i > 0 && s.Uptime > making+took {
			t.Errorf("clone %d has been up for %v; the template took at most %v, and the clone %v", i, s.Uptime, making, took)
		}
		if most := uint64(s.Monotonic/(20*time.Millisecond)) + 1; s.Ticks == 0 || s.Ticks > most {
			t.Errorf("clone %d: a timer ticked %d times within %v", i, s.Ticks, s.Monotonic)
		}
		if off := (s.Realtime - s.Monotonic).Abs(); off > 250*time.Millisecond || s.Stepped || s.Monotonic > took {
			t.Errorf("clone %d: while %v passed, the clock went on by %v; it was set: %v; the whole run took %v", i, s.Monotonic, s.Realtime, s.Stepped, took)
		}
		if s.MemoryMax != 512<<20 || s.MemoryTotal < 512<<20 || s.MemoryTotal > 640<<20 {
			t.Errorf("clone %d of 512 MiB has a limit of %d MiB, and the machine %d MiB", i, s.MemoryMax>>20, s.MemoryTotal>>20)
		}
		if s.Serials["vda"] != "rootfs0" || s.Serials["vdb"] != "layer" {
			t.Errorf("clone %d has disks %v", i, s.Serials)
		}
		all = append(all, s)
	}
	for i, one := range all {
		for _, other := range all[:i] {
			for name, value := range one.Differ {
				if value == "" || other.Differ[name] == value {
					t.Errorf("two clones have the same %s, %q", name, value)
				}
			}
			if placed && one.Mapping == other.Mapping {
				t.Errorf("two clones have the same address of a mapping, %s", one.Mapping)
			}
			// Both ends at once, as by chance one may be near.
			for kind, near := range map[string]int32{"sequence numbers": 50e6 / 64, "time stamps": 10_000} {
				same := true
				for name := range one.Secrets {
					apart := int32(one.Secrets[name] - other.Secrets[name])
					same = same && (!strings.HasPrefix(name, kind) || -near < apart && apart < near)
				}
				if same {
					t.Errorf("two clones have the same secret behind their %s: %v and %v", kind, one.Secrets, other.Secrets)
				}
			}
		}
	}
	if len(all[0].Differ) < 11 || len(all[0].Secrets) != 4 {
		t.Errorf("the probe looked at %v and %v only", all[0].Differ, all[0].Secrets)
	}
}
