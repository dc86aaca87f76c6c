package e2e

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
)

// ofALiar is somebody whose VMs boot another init image, in which a program is vminitd's place that does as mode says.
func (d *desk) ofALiar(t *testing.T, mode string) *person {
	t.Helper()
	dir, err := os.MkdirTemp(d.dir, "liar-")
	must(t, err)
	lib, real := filepath.Join(dir, "libexec", "vzctl"), filepath.Join(filepath.Dir(filepath.Dir(d.vzctl)), "libexec", "vzctl")
	must(t, os.MkdirAll(filepath.Join(dir, "bin"), 0o755), os.MkdirAll(lib, 0o755), os.Symlink(filepath.Join(real, "plugins"), filepath.Join(lib, "plugins")),
		os.Symlink(filepath.Join(real, "kernels"), filepath.Join(lib, "kernels")), copyProgram(d.vzctl, filepath.Join(dir, "bin", "vzctl")))
	program := filepath.Join(dir, "liar")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.mode="+mode, "-o", program, "./liar")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	for _, cmd := range []*exec.Cmd{build, exec.Command("go", "run", "../../guest/initrd", "-o", filepath.Join(lib, "initrd.cpio"), program)} {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
	}
	root, err := os.MkdirTemp(d.dir, "root-")
	must(t, err)
	liars := *d
	liars.vzctl = filepath.Join(dir, "bin", "vzctl")
	return liars.person(t, root)
}

// copyProgram is not a link: vzctl finds its parts beside where it really is.
func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// peaks watches the processes of the root, QEMU's apart, until stop is called, which returns the most memory that one of them has had, in KiB.
func (p *person) peaks() (stop func() (most int, of string)) {
	end, done := make(chan struct{}), make(chan struct{})
	most, of := 0, ""
	go func() {
		defer close(done)
		for {
			for pid, line := range p.processes() {
				if strings.Contains(line, "qemu-system-") {
					continue
				}
				status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
				_, rest, found := strings.Cut(string(status), "VmHWM:")
				if err != nil || !found {
					continue // it has ended
				}
				if kib, err := strconv.Atoi(strings.Fields(rest)[0]); err == nil && kib > most {
					most, of = kib, line
				}
			}
			select {
			case <-end:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() (int, string) {
		close(end)
		<-done
		return most, of
	}
}

// TestE2EAnInitThatLies has a VM whose first process is not ours. What it may say is tried at length in test/hostile; this is the real way from a real VM.
func TestE2EAnInitThatLies(t *testing.T) {
	const bound = 128 << 10 // KiB
	d := sit(t)
	for mode, says := range map[string]string{"noise": "", "answers": "", "leaves": "the VM ended"} {
		t.Run(mode, func(t *testing.T) {
			p := d.ofALiar(t, mode)
			name := p.name()
			peaks := p.peaks()
			r := p.vzctl("run", "--name", name, "--hypervisor-opt", "templates=off", d.busybox, "echo", "hello")
			most, of := peaks()
			line, ok := strings.CutPrefix(r.stderr, "vzctl: ")
			if r.code != 125 || r.stdout != "" || !ok || strings.Count(line, "\n") != 1 || strings.ContainsFunc(strings.TrimSpace(line), unicode.IsControl) || !strings.Contains(line, says) {
				t.Errorf("exit code %d, %q on stdout, %q on stderr", r.code, r.stdout, r.stderr)
			}
			if most == 0 || most > bound {
				t.Errorf("%d KiB were used by %s", most, of)
			}
			t.Logf("%s%d KiB", r.stderr, most)
			if c, found := p.find(name); found && c.State != "failed" {
				t.Errorf("it is %+v", c)
			}
			p.nothingRuns()
		})
	}
}
