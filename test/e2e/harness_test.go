// Package e2e runs the vzctl that "make all" has built, as a person would: real images from a real registry, real VMs, real errors. What it asserts
// is what that person sees. harness_test.go is the person's desk; the other files are what is tried.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vzctl/vzctl/test/fixtures/image"
	"github.com/vzctl/vzctl/test/fixtures/registry"
)

// patience is how long one command may take. Emulated machines on a loaded host are slow; nothing here measures time.
const patience = 3 * time.Minute

// desk is where all tests work: one registry, one root with the image already in it.
type desk struct {
	dir      string
	vzctl    string
	registry *registry.Registry
	busybox  string // reference
	root     string
}

var theDesk struct {
	once sync.Once
	desk *desk
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if d := theDesk.desk; d != nil {
		if err := errors.Join(d.registry.Close(), remove(d.dir)); err != nil {
			fmt.Fprintln(os.Stderr, "clean up:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// remove removes a directory in which who holds a VM that stands by may write until it has noticed.
func remove(dir string) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) { // nobody tells
		if err := os.RemoveAll(dir); !errors.Is(err, syscall.ENOTEMPTY) || time.Now().After(deadline) {
			return err
		}
	}
}

// sit returns the desk, set up by whoever comes first.
func sit(t *testing.T) *desk {
	t.Helper()
	theDesk.once.Do(func() { theDesk.desk, theDesk.err = setUp() })
	if theDesk.err != nil {
		t.Fatalf("set up: %v", theDesk.err)
	}
	return theDesk.desk
}

func setUp() (*desk, error) {
	vzctl, err := filepath.Abs("../../bin/vzctl")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(vzctl); err != nil {
		return nil, fmt.Errorf("%w; make all builds it", err)
	}
	// Others than root must find their way in.
	dir, err := os.MkdirTemp("", "vzctl-e2e-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		return nil, err
	}
	d := &desk{dir: dir, vzctl: vzctl, root: filepath.Join(dir, "root")}
	storage := filepath.Join(dir, "registry")
	if err := os.Mkdir(storage, 0o700); err != nil {
		return nil, err
	}
	ctx := context.Background()
	if d.registry, err = registry.Start(ctx, storage); err != nil {
		return nil, err
	}
	busybox, err := image.Busybox()
	if err != nil {
		return nil, err
	}
	repository, err := d.registry.Repository("busybox")
	if err != nil {
		return nil, err
	}
	if _, err := busybox.Push(ctx, repository, "latest"); err != nil {
		return nil, err
	}
	d.busybox = d.registry.Addr + "/busybox:latest"
	return d, nil
}

// result is what a person sees of a command.
type result struct {
	stdout, stderr string
	code           int
}

// person is somebody at the desk, with a root of their own.
type person struct {
	t       *testing.T
	desk    *desk
	root    string
	env     []string
	command func(ctx context.Context, args ...string) *exec.Cmd
}

// me works on the root that all tests share.
func me(t *testing.T) *person {
	d := sit(t)
	return d.person(t, d.root)
}

// alone works on a root of its own.
func alone(t *testing.T) *person {
	d := sit(t)
	dir, err := os.MkdirTemp(d.dir, "root-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // VMs that stand by have as much memory as others, and would stay for minutes, as would supervisors in reserve
		if err := errors.Join(remove(filepath.Join(dir, "cache/qemu-hypervisor/standby")), remove(filepath.Join(dir, "reserve"))); err != nil {
			t.Error(err)
		}
	})
	return d.person(t, dir)
}

func (d *desk) person(t *testing.T, root string) *person {
	p := &person{t: t, desk: d, root: root, env: append(os.Environ(), "VZCTL_ROOT="+root, "XDG_CONFIG_HOME="+filepath.Join(root, "config"))}
	p.command = func(ctx context.Context, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, d.vzctl, args...)
		cmd.Env = p.env
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = 30 * time.Second
		return cmd
	}
	return p
}

// vzctl runs a command to its end.
func (p *person) vzctl(args ...string) result {
	p.t.Helper()
	return p.vzctlWith("", args...)
}

// vzctlWith gives it something to read.
func (p *person) vzctlWith(stdin string, args ...string) result {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := p.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		p.t.Fatalf("vzctl %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	if ctx.Err() != nil {
		p.t.Errorf("vzctl %s did not end in time\n%s", strings.Join(args, " "), stderr.String())
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs a command that has to succeed, and returns what it printed.
func (p *person) must(args ...string) string {
	p.t.Helper()
	r := p.vzctl(args...)
	if r.code != 0 {
		p.t.Fatalf("vzctl %s: exit code %d\nstdout: %s\nstderr: %s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr, p.console(args))
	}
	return r.stdout
}

// console returns the console of the last VM, for failures.
func (p *person) console([]string) string {
	consoles, err := filepath.Glob(filepath.Join(p.root, "sandboxes", "*", "*.log"))
	if err != nil || len(consoles) == 0 {
		return ""
	}
	var b strings.Builder
	for _, path := range consoles {
		content, err := os.ReadFile(path)
		if err == nil && len(content) > 0 {
			fmt.Fprintf(&b, "\n--- %s\n%s", path, content[max(0, len(content)-3000):])
		}
	}
	return b.String()
}

// name is of a container that is removed at the end of the test.
func (p *person) name() string {
	name := strings.ToLower(strings.Map(func(r rune) rune {
		if r == '/' || r == ' ' || r == '_' || r == '#' || r == ',' || r == '\'' {
			return '-'
		}
		return r
	}, p.t.Name()))
	name = name[:min(len(name), 50)] + "-" + strconv.FormatInt(time.Now().UnixNano()%1_000_000, 36)
	p.t.Cleanup(func() { p.vzctl("rm", "-f", name) })
	return name
}

// container is an element of ls --format json.
type container struct {
	ID, Name, Image, State, Reason, Created string
	ExitCode                                *int
	PID                                     int
	Addresses                               []string
}

// find returns a container as ls shows it.
func (p *person) find(name string) (container, bool) {
	p.t.Helper()
	var all []container
	if err := json.Unmarshal([]byte(p.must("ls", "-a", "--format", "json")), &all); err != nil {
		p.t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(c container) bool { return c.Name == name })
	if i < 0 {
		return container{}, false
	}
	return all[i], true
}

// processes returns the command lines of all processes that belong to the root, by pid: supervisors and network daemons, whose arguments name it, and all their
// descendants; but for those that wait in reserve.
func (p *person) processes() map[int]string {
	p.t.Helper()
	found, _ := p.allProcesses()
	return found
}

// inReserve are the supervisors of the root that wait in reserve.
func (p *person) inReserve() []int {
	p.t.Helper()
	_, waiting := p.allProcesses()
	return waiting
}

func (p *person) allProcesses() (found map[int]string, waiting []int) {
	p.t.Helper()
	found = map[int]string{}
	parents := map[int]int{}
	lines := map[int]string{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil || len(line) == 0 {
			continue // it ended meanwhile, or is of the kernel
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if fields[0] == "Z" {
			continue
		}
		parents[pid], _ = strconv.Atoi(fields[1])
		lines[pid] = strings.ReplaceAll(strings.TrimRight(string(line), "\x00"), "\x00", " ")
		if !strings.Contains(lines[pid], p.root) || strings.Contains(lines[pid], "e2e.test") {
			continue
		}
		if strings.Contains(lines[pid], " in-reserve.") {
			waiting = append(waiting, pid)
		} else {
			found[pid] = lines[pid]
		}
	}
	for grew := true; grew; {
		grew = false
		for pid, parent := range parents {
			if _, ok := found[parent]; ok && found[pid] == "" && !slices.Contains(waiting, pid) {
				found[pid] = lines[pid]
				grew = true
			}
		}
	}
	return found, waiting
}

// standsBy says of a QEMU's command line that it is of a VM that stands by to be forked.
func standsBy(line string) bool { return strings.Contains(line, " -name standby-") }

// nothingRuns waits until no process of the root is left but the network's and VMs that stand by, which stay for a while for the next container.
func (p *person) nothingRuns() {
	p.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		left := p.processes()
		stays := map[int]bool{}
		for pid, line := range left {
			if strings.Contains(line, " netd ") || strings.HasSuffix(line, "/user-network") || standsBy(line) {
				stays[pid] = true
			}
		}
		if len(left) == len(stays) {
			return
		}
		if time.Now().After(deadline) {
			p.t.Errorf("left running: %v", left)
			return
		}
		time.Sleep(50 * time.Millisecond) // nobody tells when a stranger's process ends
	}
}

// readParent returns a process's parent, as /proc writes it.
func readParent(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	return strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))[1], nil
}
