// Package vm runs virtual machines: it is the hypervisor that the plugin serves. Files: manager.go has the VMs by id and the interface of the kind;
// vm.go one VM and its states; process.go the QEMU process; template.go how a VM is cloned instead of booted; snapshot.go how one is saved and goes on later; migrate.go, gate.go what they are made of; console.go the guest's last words; exit.go why a VM ended; files.go what is checked on
// disk before anything starts. What QEMU's command line is, package machine knows; how the guest is reached, package vsock.
package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/accel"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/machine"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/standby"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/virtiofsd"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/progress"
)

// Manager is the hypervisor. Its zero value is not usable; see New.
type Manager struct {
	host accel.Host
	tsc  uint64
	log  hclog.Logger

	mu  sync.Mutex
	vms map[string]*VM
}

var (
	_ hypervisor.Hypervisor  = (*Manager)(nil)
	_ hypervisor.Pauser      = (*Manager)(nil)
	_ hypervisor.Snapshotter = (*Manager)(nil)
	_ hypervisor.Templater   = (*Manager)(nil)
)

// New returns a hypervisor without VMs on a host that package accel has looked at.
func New(host accel.Host, tscKilohertz uint64, log hclog.Logger) *Manager {
	return &Manager{host: host, tsc: tscKilohertz, log: log, vms: map[string]*VM{}}
}

// Shutdown ends all VMs. The sdk calls it when the host is gone.
func (m *Manager) Shutdown(ctx context.Context) error {
	m.mu.Lock()
	ids := make([]string, 0, len(m.vms))
	for id := range m.vms {
		ids = append(ids, id)
	}
	m.mu.Unlock()
	var first error
	for _, id := range ids {
		if err := m.Delete(ctx, "", id); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// Create implements hypervisor.Hypervisor.
func (m *Manager) Create(ctx context.Context, requestID string, spec hypervisor.Spec) (hypervisor.VM, error) {
	if err := machine.Check(spec); err != nil {
		return hypervisor.VM{}, err
	}
	choice, err := accel.Choose(m.host, spec.Options[machine.OptionAccelerator], spec.Arch)
	if err != nil {
		return hypervisor.VM{}, err
	}
	if machine.ByVirtioFS(spec) {
		if err := virtiofsd.Offered(m.host.OS, os.Geteuid() == 0); err != nil {
			return hypervisor.VM{}, &fault.Error{Reason: fault.Unsupported, Op: "share by virtiofs", Cause: err}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if there := m.vms[spec.ID]; there != nil {
		return again(there, requestID, spec)
	}
	binary, err := findBinary(spec.Arch)
	if err != nil {
		return hypervisor.VM{}, err
	}
	if err := checkFiles(spec); err != nil {
		return hypervisor.VM{}, err
	}
	if err := checkMemory("/proc", spec.MemoryBytes); err != nil {
		return hypervisor.VM{}, err
	}
	v, err := newVM(ctx, requestID, spec, binary, machine.Host{OS: m.host.OS, Root: os.Geteuid() == 0, Accelerator: choice.Accelerator, TSCKilohertz: m.tsc}, m.log)
	if err != nil {
		return hypervisor.VM{}, err
	}
	if choice.Accelerator == machine.KVM && !m.host.KVM.Usable {
		v.hint = m.host.KVM.Reason + "; use accelerator=auto"
	}
	m.vms[spec.ID] = v
	return v.snapshot(), nil
}

// again answers a Create of an id that is taken.
func again(there *VM, requestID string, spec hypervisor.Spec) (hypervisor.VM, error) {
	switch {
	case requestID == "" || there.requestID != requestID:
		return hypervisor.VM{}, &fault.Error{Reason: fault.AlreadyExists, Op: "create VM", Subject: spec.ID}
	case !reflect.DeepEqual(there.spec, spec):
		return hypervisor.VM{}, &fault.Error{Reason: fault.Invalid, Op: "create VM", Subject: spec.ID,
			Cause: fmt.Errorf("request id %q was used with another spec", requestID)}
	}
	return there.snapshot(), nil
}

// Start implements hypervisor.Hypervisor.
func (m *Manager) Start(ctx context.Context, id string) (hypervisor.VM, error) {
	v, err := m.find("start VM", id)
	if err != nil {
		return hypervisor.VM{}, err
	}
	if err := v.start(ctx); err != nil {
		return hypervisor.VM{}, err
	}
	return v.snapshot(), nil
}

// Stop implements hypervisor.Hypervisor.
func (m *Manager) Stop(ctx context.Context, id string, mode hypervisor.StopMode) (hypervisor.VM, error) {
	v, err := m.find("stop VM", id)
	if err != nil {
		return hypervisor.VM{}, err
	}
	switch mode {
	case hypervisor.AwaitGuest:
		err = v.awaitStopped(ctx)
	case hypervisor.Kill, "":
		err = v.kill(ctx)
	default:
		err = &fault.Error{Reason: fault.Invalid, Op: "stop VM", Subject: id, Cause: fmt.Errorf("unknown mode %q", mode)}
	}
	return v.snapshot(), err
}

// Delete implements hypervisor.Hypervisor.
func (m *Manager) Delete(ctx context.Context, _, id string) error {
	m.mu.Lock()
	v := m.vms[id]
	m.mu.Unlock()
	if v == nil {
		return nil
	}
	if err := v.delete(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.vms[id] == v {
		delete(m.vms, id)
	}
	return nil
}

// Get implements hypervisor.Hypervisor.
func (m *Manager) Get(_ context.Context, id string) (hypervisor.VM, error) {
	v, err := m.find("find VM", id)
	if err != nil {
		return hypervisor.VM{}, err
	}
	return v.snapshot(), nil
}

// List implements hypervisor.Hypervisor. The VMs are sorted by id.
func (m *Manager) List(context.Context) ([]hypervisor.VM, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]hypervisor.VM, 0, len(m.vms))
	for _, v := range m.vms {
		list = append(list, v.snapshot())
	}
	slices.SortFunc(list, func(a, b hypervisor.VM) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// Watch implements hypervisor.Hypervisor.
func (m *Manager) Watch(ctx context.Context, id string, event func(hypervisor.VM)) error {
	v, err := m.find("watch VM", id)
	if err != nil {
		return err
	}
	return v.watch(ctx, event)
}

// Pause implements hypervisor.Pauser.
func (m *Manager) Pause(ctx context.Context, id string) error {
	v, err := m.find("pause VM", id)
	if err != nil {
		return err
	}
	return v.pause(ctx)
}

// Resume implements hypervisor.Pauser.
func (m *Manager) Resume(ctx context.Context, id string) error {
	v, err := m.find("resume VM", id)
	if err != nil {
		return err
	}
	return v.resume(ctx)
}

// Snapshot implements hypervisor.Snapshotter.
func (m *Manager) Snapshot(ctx context.Context, _, id, directory string, report progress.Func) (uint64, error) {
	v, err := m.find("take a snapshot of VM", id)
	if err != nil {
		return 0, err
	}
	if err := checkAbsolute("take a snapshot of VM", directory); err != nil {
		return 0, err
	}
	size, err := v.save(ctx, directory, report)
	return uint64(size), err
}

// Restore implements hypervisor.Snapshotter.
func (m *Manager) Restore(ctx context.Context, requestID, directory string, spec hypervisor.Spec) (hypervisor.VM, error) {
	if err := checkAbsolute("restore VM", directory); err != nil {
		return hypervisor.VM{}, err
	}
	if _, err := m.Create(ctx, requestID, spec); err != nil {
		return hypervisor.VM{}, err
	}
	v, err := m.find("restore VM", spec.ID)
	if err != nil {
		return hypervisor.VM{}, err
	}
	err = v.restore(ctx, directory)
	if err != nil && v.snapshot().State == hypervisor.Created { // and not one that an earlier request has brought further
		err = errors.Join(err, m.Delete(context.WithoutCancel(ctx), "", spec.ID))
	}
	if err != nil {
		return hypervisor.VM{}, err
	}
	return v.snapshot(), nil
}

// Templates implements hypervisor.Templater.
func (m *Manager) Templates(_ context.Context, cacheDir string) ([]hypervisor.Template, error) {
	if err := checkAbsolute("list templates", cacheDir); err != nil {
		return nil, err
	}
	entries, err := templatesOf(cacheDir).List()
	if err != nil {
		return nil, &fault.Error{Reason: fault.Unavailable, Op: "list templates", Subject: cacheDir, Cause: err}
	}
	var list []hypervisor.Template
	for _, e := range entries {
		list = append(list, hypervisor.Template{ID: e.Key, Description: e.Description, SizeBytes: uint64(e.Size), Made: e.Made, Used: e.Used, Damaged: e.Damaged})
	}
	standing, err := standbyOf(cacheDir).List()
	if err != nil {
		return nil, &fault.Error{Reason: fault.Unavailable, Op: "list templates", Subject: cacheDir, Cause: err}
	}
	for _, s := range standing {
		list = append(list, hypervisor.Template{ID: s.Key, Description: s.Description, Made: s.Made, Used: s.Used})
	}
	return list, nil
}

// RemoveTemplate implements hypervisor.Templater.
func (m *Manager) RemoveTemplate(_ context.Context, cacheDir, id string) error {
	if err := checkAbsolute("remove template", cacheDir); err != nil {
		return err
	}
	err := templatesOf(cacheDir).Remove(id)
	if errors.Is(err, fs.ErrNotExist) {
		err = standbyOf(cacheDir).Remove(id)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &fault.Error{Reason: fault.NotFound, Op: "remove template", Subject: id}
	case err != nil:
		return &fault.Error{Reason: fault.Unavailable, Op: "remove template", Subject: id, Cause: err}
	}
	return nil
}

// VerifyTemplate implements hypervisor.Templater.
func (m *Manager) VerifyTemplate(ctx context.Context, cacheDir, id string) (hypervisor.VerifiedTemplate, error) {
	if err := checkAbsolute("verify template", cacheDir); err != nil {
		return hypervisor.VerifiedTemplate{}, err
	}
	found, err := templatesOf(cacheDir).Verify(ctx, id)
	standing, listErr := standbyOf(cacheDir).List()
	switch {
	case errors.Is(err, fs.ErrNotExist) && listErr == nil && slices.ContainsFunc(standing, func(s standby.Standing) bool { return s.Key == id }):
		return hypervisor.VerifiedTemplate{Compared: true}, nil // it is in no file
	case errors.Is(err, fs.ErrNotExist):
		return hypervisor.VerifiedTemplate{}, &fault.Error{Reason: fault.NotFound, Op: "verify template", Subject: id}
	case err != nil:
		return hypervisor.VerifiedTemplate{}, &fault.Error{Reason: fault.Unavailable, Op: "verify template", Subject: id, Cause: err}
	}
	verified := hypervisor.VerifiedTemplate{Compared: found.Compared}
	if found.Damage != nil {
		verified.Damage = found.Damage.Error()
		m.log.Warn("a template was damaged, and is removed", "template", id, "error", found.Damage)
	}
	return verified, nil
}

func checkAbsolute(op, dir string) error {
	if filepath.IsAbs(dir) {
		return nil
	}
	return &fault.Error{Reason: fault.Invalid, Op: op, Subject: dir, Cause: errors.New("the path of the directory is not absolute")}
}

func (m *Manager) find(op, id string) (*VM, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.vms[id]
	if v == nil {
		return nil, &fault.Error{Reason: fault.NotFound, Op: op, Subject: id}
	}
	return v, nil
}
