package conformance

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// Ports of vminitd.
const (
	agentPort  = 1024
	streamPort = 1025
	closedPort = 4242
)

func guestCases() []Case {
	cases := []Case{
		{Name: "a guest boots, hints that it is ready, and its agent answers", Run: guestBoots},
		{Name: "a connection made before the boot waits for the guest", Run: guestConnectBeforeBoot},
		{Name: "a refused port closes without OK", Run: guestRefusedPort},
		{Name: "half-close works both ways", Run: guestHalfClose},
		{Name: "many connections work at once, and one that nobody reads stops no other", Run: guestConnections},
		{Name: "start of a running VM is a failed precondition, and a stopped one starts again", Run: guestStartAgain},
		{Name: "a cache directory serves one VM after another, belongs to its user, and may vanish", Run: guestCache},
		{Name: "a template is verified, and its VM can be made again", Run: guestTemplate},
		{Name: "stop ends the VM, tells watchers how, and may be repeated", Run: guestStop},
		{Name: "delete ends a running VM", Run: guestDelete},
		{Name: "pause and resume are idempotent", Run: guestPause},
		{Name: "a VM is saved and goes on, and another goes on from what was saved", Run: guestSnapshot},
		{Name: "what was saved is refused if it was changed, or the VM is another", Run: guestSnapshotChanged},
		{Name: "the console is written to its file", Run: guestConsole},
		{Name: "the VM ends when the plugin is killed", Run: guestPluginKilled},
		{Name: "the VM ends with the lifeline", Run: guestLifeline},
	}
	for i := range cases {
		cases[i].Timeout = 3 * time.Minute
	}
	return cases
}

// boot creates and starts a VM and waits until its agent answers.
func (e *Env) boot(ctx context.Context) (hypervisor.Spec, hypervisor.VM, error) {
	s, _, err := e.create(ctx, "vm")
	if err != nil {
		return s, hypervisor.VM{}, err
	}
	vm, err := hypervisors(e).Start(ctx, "vm")
	if err != nil {
		return s, vm, err
	}
	return s, vm, e.hello(ctx, s, vm)
}

func (e *Env) hello(ctx context.Context, s hypervisor.Spec, vm hypervisor.VM) error {
	limit := e.Fixture.Hypervisor.BootTimeout
	if limit == 0 {
		limit = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := hello(ctx, vm.VsockPath); err != nil {
		console, _ := os.ReadFile(s.ConsolePath)
		return fmt.Errorf("%w; the console ends with %q", err, console[max(0, len(console)-500):])
	}
	return nil
}

func guestBoots(ctx context.Context, env *Env) error {
	s, vm, err := env.create(ctx, "vm")
	if err != nil {
		return err
	}
	hint, err := net.Listen("unix", vm.VsockPath+"_1024")
	if err != nil {
		return err
	}
	defer hint.Close()
	defer context.AfterFunc(ctx, func() { hint.Close() })()
	hinted := make(chan error, 1)
	go func() {
		c, err := hint.Accept()
		if err == nil {
			defer c.Close()
			_, err = io.ReadFull(c, make([]byte, 1))
		}
		hinted <- err
	}()
	if vm, err = hypervisors(env).Start(ctx, "vm"); err != nil {
		return err
	}
	if vm.State != hypervisor.Running {
		return fmt.Errorf("start gave state %q", vm.State)
	}
	// A guest need not give the hint to a host that talks to it already.
	if err := <-hinted; err != nil {
		return fmt.Errorf("the guest's hint did not arrive: %w", err)
	}
	if err := env.hello(ctx, s, vm); err != nil {
		return err
	}
	hint.Close()
	_ = os.Remove(vm.VsockPath + "_1024")
	return env.forget(ctx, s)
}

func guestConnectBeforeBoot(ctx context.Context, env *Env) error {
	s, vm, err := env.create(ctx, "vm")
	if err != nil {
		return err
	}
	early, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if c, err := connect(early, vm.VsockPath, agentPort); !errors.Is(err, context.DeadlineExceeded) {
		if err == nil {
			c.Close()
		}
		return wrong(err, "a connection to a VM that does not run did not wait")
	}
	group, waiting := errgroup.WithContext(ctx)
	group.Go(func() error { return env.hello(waiting, s, vm) })
	if _, err := hypervisors(env).Start(ctx, "vm"); err != nil {
		return err
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return env.forget(ctx, s)
}

func guestRefusedPort(ctx context.Context, env *Env) error {
	s, vm, err := env.boot(ctx)
	if err != nil {
		return err
	}
	if c, err := connect(ctx, vm.VsockPath, closedPort); !errors.Is(err, errRefused) {
		if err == nil {
			c.Close()
		}
		return wrong(err, "a port nobody listens on gave")
	}
	for _, line := range []string{"HELLO\n", "CONNECT\n", "CONNECT -1\n", "CONNECT 99999999999\n", string(make([]byte, 8192))} {
		if err := garbage(ctx, vm.VsockPath, line); err != nil {
			return err
		}
	}
	if err := env.hello(ctx, s, vm); err != nil {
		return err
	}
	return env.forget(ctx, s)
}

func guestHalfClose(ctx context.Context, env *Env) error {
	s, vm, err := env.boot(ctx)
	if err != nil {
		return err
	}
	c, err := connect(ctx, vm.VsockPath, streamPort)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	// A stream of a container that does not exist: the guest answers after we closed our direction, and then closes its own.
	request, err := proto.Marshal(&guestv1.StreamRequest{ContainerId: "nobody", ProcessId: "init", Kind: guestv1.StreamKind_STREAM_KIND_STDOUT})
	if err != nil {
		return err
	}
	if _, err := c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(request))), request...)); err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	answer, err := io.ReadAll(io.LimitReader(c, 1<<16))
	if err != nil {
		return fmt.Errorf("reading after half-close: %w", err)
	}
	var response guestv1.StreamResponse
	if len(answer) < 4 || proto.Unmarshal(answer[4:], &response) != nil || response.GetError() == "" {
		return fmt.Errorf("after half-close the guest answered %q", answer)
	}
	return env.forget(ctx, s)
}

func guestConnections(ctx context.Context, env *Env) error {
	s, vm, err := env.boot(ctx)
	if err != nil {
		return err
	}
	for range 8 {
		idle, err := connect(ctx, vm.VsockPath, streamPort)
		if err != nil {
			return err
		}
		defer idle.Close()
	}
	group, hellos := errgroup.WithContext(ctx)
	for range 32 {
		group.Go(func() error { return env.hello(hellos, s, vm) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return env.forget(ctx, s)
}

func guestStartAgain(ctx context.Context, env *Env) error {
	s, _, err := env.boot(ctx)
	if err != nil {
		return err
	}
	_, again := hypervisors(env).Start(ctx, "vm")
	if err := wantReason("start of a running VM", again, fault.FailedPrecondition); err != nil {
		return err
	}
	if _, err := hypervisors(env).Stop(ctx, "vm", hypervisor.Kill); err != nil {
		return err
	}
	vm, err := hypervisors(env).Start(ctx, "vm")
	if err != nil {
		return fmt.Errorf("start of a stopped VM: %w", err)
	}
	if err := env.hello(ctx, s, vm); err != nil {
		return err
	}
	return env.forget(ctx, s)
}

func guestCache(ctx context.Context, env *Env) error {
	cache, err := env.subdir("cache")
	if err != nil {
		return err
	}
	for i := range 3 {
		id := fmt.Sprintf("vm%d", i)
		if err := env.startCached(ctx, id, cache); err != nil {
			return fmt.Errorf("time %d: %w", i+1, err)
		}
		if err := filepath.WalkDir(cache, closedToOthers); err != nil {
			return err
		}
		if i == 1 {
			if err := errors.Join(os.RemoveAll(cache), os.Mkdir(cache, 0o700)); err != nil {
				return err
			}
		}
	}
	return nil
}

func closedToOthers(path string, entry fs.DirEntry, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the plugin is tidying up
	}
	if err != nil {
		return err
	}
	info, err := entry.Info()
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = fmt.Errorf("%s in the cache directory is open to others (mode %o)", path, info.Mode().Perm())
	}
	return err
}

func guestStop(ctx context.Context, env *Env) error {
	s, _, err := env.boot(ctx)
	if err != nil {
		return err
	}
	last := make(chan hypervisor.VM, 1)
	go func() {
		_ = hypervisors(env).Watch(ctx, "vm", func(vm hypervisor.VM) {
			if vm.State == hypervisor.Stopped {
				last <- vm
			}
		})
	}()
	for range 2 {
		vm, err := hypervisors(env).Stop(ctx, "vm", hypervisor.Kill)
		if err != nil {
			return err
		}
		if vm.State != hypervisor.Stopped || vm.Exit == nil || vm.Exit.Reason != hypervisor.ByRequest {
			return fmt.Errorf("stop gave %+v, exit %+v", vm, vm.Exit)
		}
	}
	select {
	case vm := <-last:
		if vm.Exit == nil || vm.Exit.Reason != hypervisor.ByRequest || vm.Exit.Time.IsZero() {
			return fmt.Errorf("watchers were told %+v", vm.Exit)
		}
	case <-ctx.Done():
		return errors.New("watchers were not told of the end")
	}
	return env.forget(ctx, s)
}

func guestDelete(ctx context.Context, env *Env) error {
	s, vm, err := env.boot(ctx)
	if err != nil {
		return err
	}
	if err := env.forget(ctx, s); err != nil {
		return err
	}
	return vmGone(ctx, vm)
}

func guestPause(ctx context.Context, env *Env) error {
	if info := env.Process.Info(); !info.Offers(hypervisor.CapabilityFeature, hypervisor.FeaturePause) {
		return NotRun{Reason: "the plugin does not offer pause"}
	}
	s, vm, err := env.boot(ctx)
	if err != nil {
		return err
	}
	c := hypervisors(env)
	if err := errors.Join(c.Pause(ctx, "vm"), c.Pause(ctx, "vm")); err != nil {
		return err
	}
	if paused, err := c.Get(ctx, "vm"); err != nil || paused.State != hypervisor.Paused {
		return wrong(err, "a paused VM is %q", paused.State)
	}
	if err := errors.Join(c.Resume(ctx, "vm"), c.Resume(ctx, "vm")); err != nil {
		return err
	}
	if err := env.hello(ctx, s, vm); err != nil {
		return err
	}
	return env.forget(ctx, s)
}

func guestConsole(ctx context.Context, env *Env) error {
	if info := env.Process.Info(); !info.Offers(hypervisor.CapabilityFeature, hypervisor.FeatureConsole) {
		return NotRun{Reason: "the plugin does not offer a console"}
	}
	s, _, err := env.boot(ctx)
	if err != nil {
		return err
	}
	if err := env.forget(ctx, s); err != nil {
		return err
	}
	info, err := os.Stat(s.ConsolePath)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("others can read the console: mode %04o", info.Mode().Perm())
	}
	return nil
}

func guestPluginKilled(ctx context.Context, env *Env) error {
	_, vm, err := env.boot(ctx)
	if err != nil {
		return err
	}
	_ = syscall.Kill(env.Process.PID(), syscall.SIGKILL)
	<-env.Process.Done()
	return vmGone(ctx, vm)
}

func guestLifeline(ctx context.Context, env *Env) error {
	s, vm, err := env.boot(ctx)
	if err != nil {
		return err
	}
	env.Process.CutLifeline()
	if err := ends(ctx, env, "after its lifeline ended"); err != nil {
		return err
	}
	if left, _ := filepath.Glob(filepath.Join(s.RuntimeDir, "*")); len(left) > 0 {
		return fmt.Errorf("it left %q", left[0])
	}
	return vmGone(ctx, vm)
}

// vmGone waits for the end of the VM's process. It is not ours, so that nobody tells us.
func vmGone(ctx context.Context, vm hypervisor.VM) error {
	if vm.PID == 0 {
		return nil
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(5 * time.Second)
	defer limit.Stop()
	for processRuns(int(vm.PID)) {
		select {
		case <-tick.C:
		case <-limit.C:
			return fmt.Errorf("the VM's process %d still runs", vm.PID)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
