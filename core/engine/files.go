package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/vzctl/vzctl/core/agent"
	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/core/sandbox"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/core/supervisor"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/progress"
)

// filesGuest is a guest that has the disks of a container.
type filesGuest interface {
	OpenFiles(ctx context.Context) (net.Conn, error)
}

// access is what somebody may do with a container's files.
type access struct {
	guest   filesGuest
	stopped bool // nothing of the container runs, and nothing is mounted in it
	report  progress.Func
	item    string
	done    int64

	mu       sync.Mutex // who packs may outlive an error for a moment
	warnings []string
}

func (a *access) warn(texts ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.warnings = append(a.warnings, texts...)
}

func (a *access) warned() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.warnings)
}

// withFiles gives access to the files of a container that runs, through its supervisor, and of one that does not, through a VM that has its disks and runs nothing of
// it; meanwhile nobody can start it. What was left out is returned.
func (e *Engine) withFiles(ctx context.Context, ref string, write bool, report progress.Func, do func(a *access, c store.Container) error) (warnings []string, err error) {
	id, err := e.store.Resolve(ref)
	if err != nil {
		return nil, err
	}
	c, err := e.store.Get(id)
	if err != nil {
		return nil, err
	}
	a := &access{report: report, item: c.Name}
	if c.State == lifecycle.Running {
		return e.withRunning(a, c, do)
	}
	held, err := e.lockSettled(ctx, id)
	if err != nil {
		return nil, err
	}
	defer held.Close()
	if c, err = e.store.Get(id); err != nil {
		return nil, err
	}
	switch c.State {
	case lifecycle.Running: // since
		return e.withRunning(a, c, do)
	case lifecycle.Created, lifecycle.Stopped, lifecycle.Failed:
	default:
		refusal := &fault.Error{Reason: fault.FailedPrecondition, Op: "use the files of container", Subject: c.Name, Cause: fmt.Errorf("it is %s", c.State)}
		if c.State == lifecycle.Paused {
			refusal.Hint = "let it go on with vzctl unpause " + c.Name
		}
		return nil, refusal
	}
	if err := filesAllowed(c, write); err != nil {
		return nil, err
	}
	vm, end, err := e.maintain(ctx, c)
	if err != nil {
		return nil, err
	}
	a.guest, a.stopped = vm, true
	err = do(a, c)
	if endErr := end(ctx); err == nil || write {
		err = errors.Join(err, endErr)
	}
	return a.warned(), err
}

func (e *Engine) withRunning(a *access, c store.Container, do func(a *access, c store.Container) error) ([]string, error) {
	client, err := supervisor.Connect(e.store, c.Sandbox, c.ID)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	a.guest = client
	err = do(a, c)
	return a.warned(), err
}

// filesAllowed refuses what would make a checkpoint worthless, and what the container may not do itself.
func filesAllowed(c store.Container, write bool) error {
	refusal := &fault.Error{Reason: fault.FailedPrecondition, Op: "use the files of container", Subject: c.Name}
	switch {
	case c.Checkpoint != nil && !c.Checkpoint.Layer:
		refusal.Cause = errors.New("it has a checkpoint, which needs its disks as they are")
		refusal.Hint = "vzctl restore " + c.Name + " lets it go on; or first vzctl checkpoint --remove " + c.Name
	case write && c.ReadOnly:
		refusal.Cause = errors.New("its root file system is read-only")
	default:
		return nil
	}
	return refusal
}

// maintain boots a VM with the container's disks. All such VMs are of one shape, which a template of the hypervisor plugin has.
func (e *Engine) maintain(ctx context.Context, c store.Container) (*sandbox.Maintenance, func(context.Context) error, error) {
	b, err := e.store.GetSandbox(c.Sandbox)
	if err != nil {
		return nil, nil, err
	}
	spec, err := os.ReadFile(e.store.Paths().ContainerSpec(c.ID))
	if err != nil {
		return nil, nil, err
	}
	if spec, err = withoutMounts(spec, c.Mounts); err != nil {
		return nil, nil, err
	}
	// A supervisor that is just leaving removes the runtime directory last of all.
	if err := lock.AwaitFree(ctx, e.store.Paths().SandboxLife(b.ID)); err != nil {
		return nil, nil, err
	}
	if err := os.RemoveAll(e.store.Paths().SandboxRun(b.ID)); err != nil {
		return nil, nil, err
	}
	run, err := e.store.MakeSandboxRun(b.ID)
	if err != nil {
		return nil, nil, err
	}
	s := sandbox.Spec{ID: b.ID, ContainerID: c.ID, Arch: b.Arch, CPUs: DefaultCPUs, MemoryBytes: vmMemory(DefaultMemoryBytes),
		Kernel: b.Kernel, InitrdPath: b.InitrdPath, Lower: c.Disks, OCISpec: spec, Hostname: b.Hostname,
		ConsolePath: filepath.Join(run, "console.log"), RuntimeDir: run, StateDir: e.store.Paths().SandboxState(b.ID),
		CacheDir: e.store.Paths().Cache(filepath.Base(b.Hypervisor)), HypervisorOptions: b.HypervisorOptions}
	if c.Layer.Path != "" {
		s.Layer = &c.Layer
	}
	for _, dir := range []string{s.StateDir, s.CacheDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, nil, errors.Join(err, os.RemoveAll(run))
		}
	}
	vm, err := sandbox.Maintain(ctx, s, sandbox.Environment{
		StartHypervisor: func(ctx context.Context) (sandbox.Hypervisor, error) {
			running, err := e.host.Start(ctx, sdk.Hypervisor, b.Hypervisor)
			if err != nil {
				return nil, err
			}
			return supervisor.Hypervisor(running), nil
		},
		Dial: func(ctx context.Context, vsockPath string, _ bool) (sandbox.Guest, error) {
			client, err := agent.Dial(ctx, vsockPath, e.options.Version)
			if err != nil {
				return nil, err
			}
			return client, nil
		},
		Logger: e.log,
	})
	if err != nil {
		return nil, nil, errors.Join(&fault.Error{Reason: fault.ReasonOf(err), Op: "start a VM for the files of container", Subject: c.Name, Cause: err}, os.RemoveAll(run))
	}
	return vm, func(ctx context.Context) error { return errors.Join(vm.Close(ctx), os.RemoveAll(run)) }, nil
}

// use makes one request of the guest.
func (a *access) use(ctx context.Context, request *guestv1.FilesRequest, send func(io.Writer) error, receive func(io.Reader) error) (agent.FilesResult, error) {
	conn, err := a.guest.OpenFiles(ctx)
	if err != nil {
		return agent.FilesResult{}, err
	}
	if send != nil {
		inner := send
		send = func(w io.Writer) error { return inner(a.counted(w)) }
	}
	if receive != nil {
		inner := receive
		receive = func(r io.Reader) error { return inner(io.TeeReader(r, a.counted(io.Discard))) }
	}
	result, err := agent.UseFiles(ctx, conn, request, send, receive)
	a.warn(result.Warnings...)
	return result, err
}

// counted reports the bytes that pass.
func (a *access) counted(w io.Writer) io.Writer {
	if a.report == nil {
		return w
	}
	return counter{a, w}
}

type counter struct {
	a *access
	w io.Writer
}

func (c counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.a.done += int64(n)
	c.a.report.Report(progress.Update{Step: "copy", Item: c.a.item, Done: c.a.done, Unit: progress.Bytes})
	return n, err
}

// beside refuses a path in what is mounted only while the container runs, so that nothing is found, or hidden, below it; what of a tree that is read is left out for that is said.
func (a *access) beside(c store.Container, name string, read bool) error {
	if !a.stopped {
		return nil
	}
	name = path.Clean("/" + name)
	for _, m := range c.Mounts {
		switch at := path.Clean("/" + m.Destination); {
		case name == at || strings.HasPrefix(name, at+"/"):
			return &fault.Error{Reason: fault.FailedPrecondition, Op: "use the files of container", Subject: c.Name,
				Cause: fmt.Errorf("%s is mounted while it runs, and it is %s", at, c.State), Hint: "vzctl start " + c.Name}
		case read && (name == "/" || strings.HasPrefix(at, name+"/")):
			a.warn(fmt.Sprintf("what is in %s was left out: it is mounted while the container runs", at))
		}
	}
	return nil
}

// stat tells what is at a path of the container.
func (a *access) stat(ctx context.Context, name string, follow bool) (agent.FilesResult, error) {
	return a.use(ctx, &guestv1.FilesRequest{Of: &guestv1.FilesRequest_Stat{Stat: &guestv1.StatFileRequest{Path: name, Follow: follow}}}, nil, nil)
}

// Export writes a tar of a container's root file system, without what is mounted in it.
func (e *Engine) Export(ctx context.Context, ref string, to io.Writer, report progress.Func) (warnings []string, err error) {
	return e.withFiles(ctx, ref, false, report, func(a *access, _ store.Container) error {
		request := &guestv1.ReadFilesRequest{Path: "/", Name: ".", RootOnly: true}
		_, err := a.use(ctx, &guestv1.FilesRequest{Of: &guestv1.FilesRequest_Read{Read: request}}, nil, copyTo(to))
		return err
	})
}

func copyTo(to io.Writer) func(io.Reader) error {
	return func(from io.Reader) error {
		_, err := io.Copy(to, from)
		return err
	}
}

// FileChange is a file that a container has added, changed or deleted: Kind is "A", "C" or "D".
type FileChange struct {
	Kind string `json:"kind"`
	Path string `json:"path"`
}

const (
	// maxChangesBytes bounds what is taken of a guest's list of changes, and maxChangePath one path of it.
	maxChangesBytes = 256 << 20
	maxChangePath   = 64 << 10
)

// Changes lists what a container has changed of its image's files.
func (e *Engine) Changes(ctx context.Context, ref string) (changes []FileChange, err error) {
	_, err = e.withFiles(ctx, ref, false, nil, func(a *access, _ store.Container) error {
		_, err := a.use(ctx, &guestv1.FilesRequest{Of: &guestv1.FilesRequest_Changes{Changes: &guestv1.ReadChangesRequest{}}}, nil, func(r io.Reader) (err error) {
			changes, err = parseChanges(r, maxChangesBytes)
			return err
		})
		return err
	})
	return changes, err
}

func parseChanges(r io.Reader, most int64) (changes []FileChange, err error) {
	text, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > most {
		return nil, &fault.Error{Reason: fault.Internal, Op: "list changes", Cause: fmt.Errorf("the guest's list has more than %d bytes", most)}
	}
	wrong := &fault.Error{Reason: fault.Internal, Op: "list changes", Cause: errors.New("the guest's list is none")}
	for record := range strings.SplitSeq(string(text), "\x00") {
		if record == "" {
			continue
		}
		if len(record) > maxChangePath || !strings.Contains("ACD", record[:1]) || !strings.HasPrefix(record[1:], "/") {
			return nil, wrong
		}
		changes = append(changes, FileChange{Kind: record[:1], Path: record[1:]})
	}
	return changes, nil
}

// HoldAction is what HoldFiles does.
type HoldAction = guestv1.HoldAction

// The actions.
const (
	FreezeFiles = guestv1.HoldAction_HOLD_ACTION_FREEZE
	ThawFiles   = guestv1.HoldAction_HOLD_ACTION_THAW
	TrimFiles   = guestv1.HoldAction_HOLD_ACTION_TRIM
)

// HoldFiles freezes or thaws the file system that takes what a running container writes, or trims it and the volumes that the container writes to. One that does not run can be trimmed as well,
// without volumes.
func (e *Engine) HoldFiles(ctx context.Context, ref string, action HoldAction) error {
	if action == TrimFiles {
		_, err := e.withFiles(ctx, ref, true, nil, func(a *access, _ store.Container) error { return a.hold(ctx, action) })
		return err
	}
	s, err := e.connect(ref, lifecycle.Exec)
	if err != nil {
		return err
	}
	defer s.Close()
	err = (&access{guest: s}).hold(ctx, action)
	if of, ok := errors.AsType[*fault.Error](err); ok && of.Subject == "" { // the guest has one container, and names it by its id
		named := *of
		named.Op, named.Subject = of.Op+" of container", ref
		return &named
	}
	return err
}

func (a *access) hold(ctx context.Context, action HoldAction) error {
	_, err := a.use(ctx, &guestv1.FilesRequest{Of: &guestv1.FilesRequest_Hold{Hold: &guestv1.HoldFilesRequest{Action: action}}}, nil, nil)
	return err
}
