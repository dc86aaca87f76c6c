package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// HypervisorFixture is a guest to boot: vminitd in an initrd, on a kernel the hypervisor takes.
type HypervisorFixture struct {
	Arch       string
	Kernel     hypervisor.Kernel
	InitrdPath string
	// 0: 1 CPU, 256 MiB.
	CPUs        uint32
	MemoryBytes uint64
	// Options for every VM.
	Options map[string]string
	// BootTimeout is how long the guest may take to answer; 0: 60 s.
	BootTimeout time.Duration
}

func hypervisorCases() []Case {
	return []Case{
		{Name: "calls about a VM that does not exist are not found, and its deletion succeeds", Run: hypervisorUnknown},
		{Name: "create refuses what can never be", Run: hypervisorBadSpecs},
		{Name: "create is idempotent by request id, and an id is taken once", Run: hypervisorCreateTwice},
		{Name: "a created VM is listed, has a socket in the runtime directory, and is gone after delete", Run: hypervisorCreated},
		{Name: "a share is a directory or a file that is there", Run: hypervisorShares},
		{Name: "watch sends the present state at once and ends when the VM is deleted", Run: hypervisorWatch},
		{Name: "watch ends when the caller leaves", Run: hypervisorWatchCancel},
		{Name: "stop leaves a VM that never ran as it is", Run: hypervisorStopCreated},
		{Name: "many VMs are created and deleted at once", Run: hypervisorMany},
		{Name: "what is not offered is unsupported", Run: hypervisorOptional},
	}
}

func hypervisors(env *Env) *hypervisor.Client {
	return hypervisor.NewClient(env.Process.Conn(), env.Process.Info())
}

// spec is a VM of the fixture. The id is part of its directories.
func (e *Env) spec(id string) (hypervisor.Spec, error) {
	f := e.Fixture.Hypervisor
	if f == nil {
		return hypervisor.Spec{}, NotRun{Reason: "no kernel and initrd of a guest were given"}
	}
	runtime := filepath.Join(e.RuntimeDir, "r-"+id)
	state, err := e.subdir("state-" + id)
	if err == nil {
		err = os.MkdirAll(runtime, 0o700)
	}
	s := hypervisor.Spec{
		ID: id, Arch: f.Arch, CPUs: max(f.CPUs, 1), MemoryBytes: f.MemoryBytes, Kernel: f.Kernel, InitrdPath: f.InitrdPath,
		ConsolePath: filepath.Join(state, "console"), RuntimeDir: runtime, StateDir: state, Options: f.Options,
	}
	if s.MemoryBytes == 0 {
		s.MemoryBytes = 256 << 20
	}
	return s, err
}

// create makes a VM of the fixture. Its directories are the caller's, so that forget removes them.
func (e *Env) create(ctx context.Context, id string) (hypervisor.Spec, hypervisor.VM, error) {
	s, err := e.spec(id)
	if err != nil {
		return s, hypervisor.VM{}, err
	}
	vm, err := hypervisors(e).Create(ctx, "create-"+id, s)
	return s, vm, err
}

// forget deletes a VM; nothing of it may be left in the directory of its sockets, which then goes, too.
func (e *Env) forget(ctx context.Context, s hypervisor.Spec) error {
	if err := hypervisors(e).Delete(ctx, "delete-"+s.ID, s.ID); err != nil {
		return err
	}
	left, err := os.ReadDir(s.RuntimeDir)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("delete left %q in the runtime directory", left[0].Name())
	}
	return os.Remove(s.RuntimeDir)
}

func hypervisorUnknown(ctx context.Context, env *Env) error {
	c := hypervisors(env)
	_, get := c.Get(ctx, "nobody")
	_, start := c.Start(ctx, "nobody")
	_, stop := c.Stop(ctx, "nobody", hypervisor.Kill)
	return errors.Join(
		wantReason("get", get, fault.NotFound), wantReason("start", start, fault.NotFound), wantReason("stop", stop, fault.NotFound),
		wantReason("watch", c.Watch(ctx, "nobody", func(hypervisor.VM) {}), fault.NotFound),
		c.Delete(ctx, "r", "nobody"),
	)
}

func hypervisorBadSpecs(ctx context.Context, env *Env) error {
	good, err := env.spec("vm")
	if err != nil {
		return err
	}
	defer os.RemoveAll(good.RuntimeDir)
	file := hypervisor.Disk{Serial: "a", File: &hypervisor.FileBackend{Path: good.Kernel.Path, Format: "raw"}, ReadOnly: true}
	missing := hypervisor.Disk{Serial: "a", File: &hypervisor.FileBackend{Path: filepath.Join(env.Dir, "nothing"), Format: "raw"}}
	long := file
	long.Serial = strings.Repeat("s", hypervisor.MaxSerial+1)
	for _, bad := range []struct {
		what    string
		change  func(*hypervisor.Spec)
		reasons []fault.Reason
	}{
		{"an empty id", func(s *hypervisor.Spec) { s.ID = "" }, []fault.Reason{fault.Invalid}},
		{"an id with a slash", func(s *hypervisor.Spec) { s.ID = "../vm" }, []fault.Reason{fault.Invalid}},
		{"an id of 65 characters", func(s *hypervisor.Spec) { s.ID = strings.Repeat("x", 65) }, []fault.Reason{fault.Invalid}},
		{"no CPU", func(s *hypervisor.Spec) { s.CPUs = 0 }, []fault.Reason{fault.Invalid}},
		{"no memory", func(s *hypervisor.Spec) { s.MemoryBytes = 0 }, []fault.Reason{fault.Invalid}},
		{"a kernel that is not there", func(s *hypervisor.Spec) { s.Kernel.Path += "-missing" }, []fault.Reason{fault.NotFound, fault.Invalid}},
		{"an initrd that is not there", func(s *hypervisor.Spec) { s.InitrdPath = filepath.Join(env.Dir, "nothing") }, []fault.Reason{fault.NotFound, fault.Invalid}},
		{"an architecture nobody has", func(s *hypervisor.Spec) { s.Arch = "vax" }, []fault.Reason{fault.Unsupported, fault.Invalid}},
		{"an option nobody knows", func(s *hypervisor.Spec) { s.Options = map[string]string{"no-such-option": "1"} }, []fault.Reason{fault.Invalid, fault.Unsupported}},
		{"two disks with one serial", func(s *hypervisor.Spec) { s.Disks = []hypervisor.Disk{file, file} }, []fault.Reason{fault.Invalid}},
		{"a serial that is too long", func(s *hypervisor.Spec) { s.Disks = []hypervisor.Disk{long} }, []fault.Reason{fault.Invalid}},
		{"a disk that is not there", func(s *hypervisor.Spec) { s.Disks = []hypervisor.Disk{missing} }, []fault.Reason{fault.NotFound, fault.Invalid}},
		{"a disk with no backend", func(s *hypervisor.Spec) { s.Disks = []hypervisor.Disk{{Serial: "a"}} }, []fault.Reason{fault.Invalid, fault.Unsupported}},
		{"a network card with no link", func(s *hypervisor.Spec) { s.NICs = []hypervisor.NIC{{ID: "n"}} }, []fault.Reason{fault.Invalid, fault.Unsupported}},
		{"no runtime directory", func(s *hypervisor.Spec) { s.RuntimeDir = "" }, []fault.Reason{fault.Invalid, fault.NotFound}},
	} {
		s := good
		bad.change(&s)
		_, got := hypervisors(env).Create(ctx, "r-"+bad.what, s)
		err = errors.Join(err, wantReason("create with "+bad.what, got, bad.reasons...))
	}
	list, listErr := hypervisors(env).List(ctx)
	if len(list) > 0 {
		err = errors.Join(err, fmt.Errorf("a refused VM is listed: %q", list[0].ID))
	}
	return errors.Join(err, listErr)
}

func hypervisorCreateTwice(ctx context.Context, env *Env) error {
	s, first, err := env.create(ctx, "vm")
	if err != nil {
		return err
	}
	second, err := hypervisors(env).Create(ctx, "create-vm", s)
	if err != nil {
		return fmt.Errorf("the same request again: %w", err)
	}
	if first.VsockPath != second.VsockPath {
		return fmt.Errorf("first %+v, then %+v", first, second)
	}
	_, taken := hypervisors(env).Create(ctx, "another", s)
	return errors.Join(wantReason("create of a taken id", taken, fault.AlreadyExists), env.forget(ctx, s))
}

func hypervisorCreated(ctx context.Context, env *Env) error {
	s, vm, err := env.create(ctx, "vm")
	if err != nil {
		return err
	}
	if vm.State != hypervisor.Created {
		return fmt.Errorf("its state is %q", vm.State)
	}
	if filepath.Dir(vm.VsockPath) != s.RuntimeDir {
		return fmt.Errorf("its socket %q is not in the runtime directory", vm.VsockPath)
	}
	if err := onlyOwner(vm.VsockPath); err != nil {
		return err
	}
	list, err := hypervisors(env).List(ctx)
	if err != nil || len(list) != 1 || list[0].ID != "vm" {
		return wrong(err, "list is %+v", list)
	}
	if err := env.forget(ctx, s); err != nil {
		return err
	}
	list, err = hypervisors(env).List(ctx)
	if err != nil || len(list) != 0 {
		return wrong(err, "after delete list is %+v", list)
	}
	return hypervisors(env).Delete(ctx, "again", "vm")
}

func onlyOwner(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%q is no socket", path)
	}
	if dir, err := os.Stat(filepath.Dir(path)); err != nil || dir.Mode().Perm()&0o077 != 0 && info.Mode().Perm()&0o077 != 0 {
		return wrong(err, "others can reach %q", path)
	}
	return nil
}

func hypervisorWatch(ctx context.Context, env *Env) error {
	s, _, err := env.create(ctx, "vm")
	if err != nil {
		return err
	}
	states := make(chan hypervisor.VM, 16)
	ended := make(chan error, 1)
	go func() { ended <- hypervisors(env).Watch(ctx, "vm", func(vm hypervisor.VM) { states <- vm }) }()
	select {
	case vm := <-states:
		if vm.State != hypervisor.Created {
			return fmt.Errorf("the present state is %q", vm.State)
		}
	case err := <-ended:
		return wrong(err, "watch ended at once")
	case <-ctx.Done():
		return errors.New("watch did not send the present state")
	}
	if err := env.forget(ctx, s); err != nil {
		return err
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return errors.New("watch did not end with the VM")
	}
}

func hypervisorWatchCancel(ctx context.Context, env *Env) error {
	s, _, err := env.create(ctx, "vm")
	if err != nil {
		return err
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := hypervisors(env).Watch(watching, "vm", func(hypervisor.VM) { cancel() }); !errors.Is(err, context.Canceled) {
		return wrong(err, "watch did not end as cancelled")
	}
	return env.forget(ctx, s)
}

func hypervisorStopCreated(ctx context.Context, env *Env) error {
	s, _, err := env.create(ctx, "vm")
	if err != nil {
		return err
	}
	vm, err := hypervisors(env).Stop(ctx, "vm", hypervisor.Kill)
	if err != nil || vm.State == hypervisor.Running {
		return wrong(err, "stop gave state %q", vm.State)
	}
	return env.forget(ctx, s)
}

func hypervisorMany(ctx context.Context, env *Env) error {
	if _, err := env.spec("0"); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for i := range 8 {
		group.Go(func() error {
			s, _, err := env.create(ctx, strconv.Itoa(i))
			if err != nil {
				return err
			}
			return env.forget(ctx, s)
		})
	}
	return group.Wait()
}

func hypervisorOptional(ctx context.Context, env *Env) error {
	c := hypervisors(env)
	info := env.Process.Info()
	_, snapshot := c.Snapshot(ctx, "r", "vm", env.Dir, nil)
	cache := filepath.Join(env.Dir, "cache")
	_, verified := c.VerifyTemplate(ctx, cache, "no-such-template")
	for feature, err := range map[string]error{
		hypervisor.FeaturePause:    c.Pause(ctx, "vm"),
		hypervisor.FeatureHotplug:  c.DetachDevice(ctx, "r", "vm", "d"),
		hypervisor.FeatureResize:   c.Resize(ctx, "vm", 1, 0),
		hypervisor.FeatureSnapshot: snapshot,
		hypervisor.FeatureTemplate: c.RemoveTemplate(ctx, cache, "no-such-template"),
		"template, verified":       verified,
	} {
		name, _, _ := strings.Cut(feature, ",")
		want := fault.Unsupported
		if info.Offers(hypervisor.CapabilityFeature, name) {
			want = fault.NotFound // offered, and there is no such VM
		}
		if err := wantReason(feature, err, want); err != nil {
			return err
		}
	}
	return nil
}
