package vm

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/machine"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/template"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/vmtest/port"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// cached returns a spec with a read-only and a writable disk, whose VM is cloned.
func cached(t *testing.T, id, cache, text string, size int64) hypervisor.Spec {
	t.Helper()
	spec := specOf(t, id)
	spec.CacheDir, spec.Options = cache, map[string]string{machine.OptionStandby: "off"}
	dir := t.TempDir()
	for _, serial := range []string{"base", "layer"} {
		path := filepath.Join(dir, serial)
		if err := os.WriteFile(path, bytes.Repeat([]byte(text), 4096/len(text)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		spec.Disks = append(spec.Disks, hypervisor.Disk{Serial: serial + "-" + id, ReadOnly: serial == "base",
			File: &hypervisor.FileBackend{Path: path, Format: "raw"}})
	}
	return spec
}

// templateFile returns a file of the only template below a cache.
func templateFile(t *testing.T, cache, name string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(cache, "templates", "*", name))
	if err != nil || len(found) != 1 {
		t.Fatalf("there are %d templates, %v", len(found), err)
	}
	return found[0]
}

func digest(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", hash.Sum(nil))
}

func TestVMsOfOneShapeAreClonesThatShareNothingButTheirPast(t *testing.T) {
	m, cache := newManager(t), t.TempDir()
	first := boot(t, m, cached(t, "a", cache, "aaaa", 1<<20))
	memory := templateFile(t, cache, "memory")
	before := digest(t, memory)
	second := cached(t, "b", cache, "bbbb", 3<<20)
	begun := time.Now()
	vm := boot(t, m, second)
	t.Logf("create to the clone's first answer: %v", time.Since(begun))
	if !first.Cloned || !vm.Cloned {
		t.Errorf("cloned are %v and %v", first.Cloned, vm.Cloned)
	}
	for id, text := range map[string]string{"a": "aaaa", "b": "bbbb"} {
		vm := vm
		if id == "a" {
			vm = first
		}
		content := sha256.Sum256(bytes.Repeat([]byte(text), 1024))
		if got := tell(t, vm, "disk base-%s", id); got != fmt.Sprintf("ro=1 %x", content) {
			t.Errorf("the read-only disk of %s is %s", id, got)
		}
		if got := tell(t, vm, "disk layer-%s", id); got != fmt.Sprintf("ro=0 %x", content) {
			t.Errorf("the writable disk of %s is %s", id, got)
		}
	}
	if got := tell(t, vm, "size vdb"); got != "6144 <nil>" {
		t.Errorf("the writable disk of 3 MiB has %s sectors", got)
	}
	if got := tell(t, vm, "write layer-b flushed"); got != "written" {
		t.Error(got)
	}
	console, err := os.ReadFile(second.ConsolePath)
	if err != nil || !strings.Contains(string(console), port.FirstLine) {
		t.Errorf("the clone's console does not tell of the boot: %q, %v", console, err)
	}
	if after := digest(t, memory); after != before {
		t.Error("a clone has changed the template")
	}
}

func TestMemoryThatACloneGivesBackIsTheHostsAgainAndStaysInTheTemplate(t *testing.T) {
	m, cache := newManager(t), t.TempDir()
	other := boot(t, m, cached(t, "a", cache, "a", 1<<20))
	memory := templateFile(t, cache, "memory")
	before := digest(t, memory)
	vm := boot(t, m, cached(t, "b", cache, "b", 1<<20))
	if got := tell(t, vm, "churn"); got != "churned" {
		t.Fatal(got)
	}
	squeeze(t, m, vm)
	for name, vm := range map[string]hypervisor.VM{"this": vm, "the other": other} {
		if got := tell(t, vm, "size vdb"); got != "2048 <nil>" {
			t.Errorf("%s clone says %s", name, got)
		}
	}
	if after := digest(t, memory); after != before {
		t.Error("the clone has changed the template")
	}
}

// squeeze takes memory from a VM that has used more than is left to it, and wants the host to have it again.
func squeeze(t *testing.T, m *Manager, vm hypervisor.VM) {
	t.Helper()
	used := private(t, vm.PID)
	m.mu.Lock()
	monitor := m.vms[vm.ID].process.monitor
	m.mu.Unlock()
	const wanted = 96 << 20
	ctx := within(t, bootDeadline)
	if err := monitor.Execute(ctx, "balloon", map[string]int{"value": wanted}, nil); err != nil {
		t.Fatal(err)
	}
	for { // QEMU tells of changes at most once a second, and not of the last
		var balloon struct{ Actual int }
		if err := monitor.Execute(ctx, "query-balloon", nil, &balloon); err != nil {
			t.Fatal(err)
		}
		if balloon.Actual <= wanted {
			break
		}
	}
	if now := private(t, vm.PID); now > used-50<<20 {
		t.Errorf("QEMU had %d MiB of its own, and has %d after it was given back more than that", used>>20, now>>20)
	}
}

// private is the memory that a process shares with nobody, in bytes.
func private(t *testing.T, pid int64) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "Private_Dirty:")
	var kB int
	if _, err := fmt.Sscan(after, &kB); err != nil {
		t.Fatal(err)
	}
	return kB << 10
}

func TestTemplateIsMadeAnewIfItWasChanged(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"cut short": func(path string) error { return os.Truncate(path, 1<<20) },
		"edited": func(path string) error {
			file, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = file.WriteAt([]byte("x"), 8<<20)
			return errors.Join(err, file.Close())
		},
		"gone":            os.Remove,
		"open to others":  func(path string) error { return os.Chmod(path, 0o644) },
		"another's place": func(path string) error { return errors.Join(os.Remove(path), os.Symlink("/etc/passwd", path)) },
	} {
		t.Run(name, func(t *testing.T) {
			m, cache := newManager(t), t.TempDir()
			boot(t, m, cached(t, "a", cache, "a", 1<<20))
			if err := damage(templateFile(t, cache, "memory")); err != nil {
				t.Fatal(err)
			}
			if vm := boot(t, m, cached(t, "b", cache, "b", 1<<20)); !vm.Cloned {
				t.Error("no template was made")
			}
			if info, err := os.Lstat(templateFile(t, cache, "memory")); err != nil || info.Size() != 256<<20 || info.Mode() != 0o600 {
				t.Errorf("the template's memory is %v, %v", info, err)
			}
		})
	}
}

// shapeOf returns the store and the key of a VM's template.
func shapeOf(t *testing.T, m *Manager, spec hypervisor.Spec) (template.Store, string) {
	t.Helper()
	binary, err := findBinary(spec.Arch)
	if err != nil {
		t.Fatal(err)
	}
	v := &VM{spec: spec, binary: binary, host: machine.Host{OS: runtime.GOOS, Accelerator: cmp.Or(spec.Options[machine.OptionAccelerator], machine.TCG), TSCKilohertz: m.tsc}}
	key, err := v.templateKey()
	if err != nil {
		t.Fatal(err)
	}
	return v.templates(), key
}

func TestVMBootsIfItCannotBeCloned(t *testing.T) {
	for name, hinder := range map[string]func(t *testing.T, store template.Store, key, cache string){
		"QEMU refuses the template": func(t *testing.T, store template.Store, key, _ string) {
			draft, _, err := store.Draft(key, 256<<20)
			if err != nil {
				t.Fatal(err)
			}
			_, err = draft.State.WriteString("no state of any machine")
			if err := errors.Join(err, draft.Commit(template.About{}), draft.Discard()); err != nil {
				t.Fatal(err)
			}
		},
		"another fails to make the template": func(t *testing.T, store template.Store, key, _ string) {
			draft, _, err := store.Draft(key, 256<<20)
			if err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(300*time.Millisecond, func() { _ = draft.Discard() })
		},
		"it shall not be": func(_ *testing.T, _ template.Store, _, _ string) {},
		"there is no place for templates": func(t *testing.T, _ template.Store, _, cache string) {
			if err := os.WriteFile(filepath.Join(cache, "templates"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, cache := newManager(t), t.TempDir()
			spec := cached(t, "a", cache, "a", 1<<20)
			spec.Options = map[string]string{machine.OptionAccelerator: machine.TCG, machine.OptionStandby: "off"}
			store, key := shapeOf(t, m, spec)
			if name == "it shall not be" {
				spec.Options[machine.OptionTemplates] = "off"
			}
			hinder(t, store, key, cache)
			if vm := boot(t, m, spec); vm.Cloned {
				t.Error("it was cloned")
			}
			if left, err := store.Open(key); err == nil {
				left.Close()
				t.Error("a template that failed is still there")
			}
		})
	}
}

// QEMU takes up a template whose memory the disk has lost, and the guest ends with the first instruction. No later start may meet it again.
func TestTemplateOfWhichNoGuestComesToLifeIsRemoved(t *testing.T) {
	m, cache := newManager(t), t.TempDir()
	spec := cached(t, "a", cache, "a", 1<<20)
	boot(t, m, spec)
	store, key := shapeOf(t, m, spec)
	state, err := os.ReadFile(templateFile(t, cache, "state"))
	if err != nil {
		t.Fatal(err)
	}
	draft, _, err := store.Draft(key, 256<<20)
	if err != nil {
		t.Fatal(err)
	}
	_, err = draft.State.Write(state)
	if err := errors.Join(err, draft.Commit(template.About{}), draft.Discard()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Create(context.Background(), "test", cached(t, "b", cache, "b", 1<<20)); err != nil {
		t.Fatal(err)
	}
	if vm, err := m.Start(within(t, bootDeadline), "b"); err != nil || !vm.Cloned {
		t.Fatalf("cloned: %v, %v", vm.Cloned, err)
	}
	exitOf(t, m, "b")
	if left, err := store.Open(key); err == nil {
		left.Close()
		t.Error("the template is still there")
	}
	vm, err := m.Start(within(t, bootDeadline), "b")
	if err != nil || !vm.Cloned {
		t.Fatalf("the next start: cloned %v, %v", vm.Cloned, err)
	}
	_ = dial(t, vm, port.Echo).Close()
}

func TestVMsThatStartAtOnceShareOneTemplate(t *testing.T) {
	m, cache := newManager(t), t.TempDir()
	var starts sync.WaitGroup
	for _, id := range []string{"a", "b", "c", "d"} {
		spec := cached(t, id, cache, id, 1<<20)
		if _, err := m.Create(context.Background(), "test", spec); err != nil {
			t.Fatal(err)
		}
		starts.Go(func() {
			if vm, err := m.Start(within(t, bootDeadline), id); err != nil || !vm.Cloned {
				t.Errorf("%s: cloned %v, %v", id, vm.Cloned, err)
			}
		})
	}
	starts.Wait()
	templateFile(t, cache, "state")
}

func TestStartThatIsGivenUpWhileATemplateIsMadeLeavesNothing(t *testing.T) {
	m, cache := newManager(t), t.TempDir()
	spec := cached(t, "a", cache, "a", 1<<20)
	if _, err := m.Create(context.Background(), "test", spec); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 150*time.Millisecond) // QEMU is there by then, and the guest is not
	defer cancel()
	if _, err := m.Start(ctx, "a"); err == nil {
		t.Fatal("it started in no time")
	}
	left, err := filepath.Glob(filepath.Join(cache, "templates", "*"))
	if err != nil || len(left) != 1 || !strings.HasSuffix(left[0], ".lock") {
		t.Errorf("left are %v, %v", left, err)
	}
	vm, err := m.Start(within(t, bootDeadline), "a")
	if err != nil || !vm.Cloned {
		t.Fatalf("the next start made no template: %v", err)
	}
	_ = dial(t, vm, port.Echo).Close()
}

// What is noted of descriptors may be wrong. Then nothing is given back, and nothing else is lost.
func TestCloneWhoseDisksHaveOtherDescriptorsIsAClone(t *testing.T) {
	m, cache := newManager(t), t.TempDir()
	spec := cached(t, "a", cache, "a", 1<<20)
	boot(t, m, spec)
	store, key := shapeOf(t, m, spec)
	if err := store.Sync(key); err != nil { // or it is written anew beside this
		t.Fatal(err)
	}
	path := templateFile(t, cache, "template.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	noted := regexp.MustCompile(`"Disks":\[\d+(,\d+)*\]`)
	if !noted.Match(text) {
		t.Fatalf("no descriptors are noted: %s", text)
	}
	const devNull = `"Disks":[0]`
	if err := os.WriteFile(path, noted.ReplaceAll(text, []byte(devNull)), 0o600); err != nil {
		t.Fatal(err)
	}
	if vm := boot(t, m, cached(t, "b", cache, "b", 1<<20)); !vm.Cloned {
		t.Error("it was not cloned")
	}
	if now, err := os.ReadFile(templateFile(t, cache, "template.json")); err != nil || !strings.Contains(string(now), devNull) {
		t.Errorf("the template is another, %v", err)
	}
}

func TestHostCPUIsKnownByWhatDoesNotChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cpuinfo")
	look := func(text string) string {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		about, err := hostCPU(path)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(about, "\n")
	}
	const first = "processor\t: 0\nmodel name\t: A\ncpu MHz\t\t: 2000.1\nflags\t\t: fpu avx2\n\nprocessor\t: 1\nmodel name\t: A\n"
	own := look(first)
	if own != "model name\t: A\nflags\t\t: fpu avx2" {
		t.Errorf("it is %q", own)
	}
	if look(strings.ReplaceAll(first, "2000.1", "1800.7")) != own {
		t.Error("it changes with the clock rate")
	}
	if look(strings.ReplaceAll(first, "avx2", "")) == own {
		t.Error("it does not change with what the CPU can")
	}
}

func TestHolesArePunchedByTheDescriptorsThatMayAndNoOthers(t *testing.T) {
	const opened = 3 // by which the program has the only file it opens
	for name, test := range map[string]struct {
		holes   holes
		punched bool
	}{
		"unlimited":          {holes{}, true},
		"none":               {holes{limited: true}, false},
		"others":             {holes{limited: true, descriptors: []int{opened - 1, opened + 1}}, false},
		"it, and others too": {holes{limited: true, descriptors: []int{opened + 1, opened}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			content := bytes.Repeat([]byte("x"), 1<<20)
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			p := &process{exited: make(chan struct{})}
			p.cmd = exec.Command("fallocate", "--punch-hole", "--offset", "0", "--length", "65536", path)
			if err := p.run(test.holes, nil); err != nil {
				t.Fatal(err)
			}
			<-p.exited
			if !p.cmd.ProcessState.Success() {
				t.Errorf("it noticed: %v", p.cmd.ProcessState)
			}
			if now, err := os.ReadFile(path); err != nil || bytes.Equal(now, content) == test.punched {
				t.Errorf("punched should be %v, %v", test.punched, err)
			}
		})
	}
}

func TestOnlyDescriptorsOfWritableDisksAreTakenForSuch(t *testing.T) {
	dir := t.TempDir()
	spec := hypervisor.Spec{Disks: []hypervisor.Disk{
		{ReadOnly: true, File: &hypervisor.FileBackend{Path: filepath.Join(dir, "image")}},
		{File: &hypervisor.FileBackend{Path: filepath.Join(dir, "layer")}},
	}}
	for _, disk := range spec.Disks {
		if err := os.WriteFile(disk.File.Path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	image, layer := openWritable(t, spec.Disks[0].File.Path), openWritable(t, spec.Disks[1].File.Path)
	if found, err := diskDescriptors(os.Getpid(), spec); err != nil || !slices.Equal(found, []int{layer}) {
		t.Errorf("found %v, %v; the layer is %d, the image %d", found, err, layer, image)
	}
	if err := checkDescriptors(os.Getpid(), []int{layer}, spec); err != nil {
		t.Error(err)
	}
	for _, wrong := range []int{image, 1 << 20} {
		if err := checkDescriptors(os.Getpid(), []int{layer, wrong}, spec); !errors.Is(err, errDescriptors) {
			t.Errorf("descriptor %d gave %v", wrong, err)
		}
	}
}

func openWritable(t *testing.T, path string) int {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return int(file.Fd())
}
