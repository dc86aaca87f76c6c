package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vzctl/vzctl/guest/serialmux"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/machine"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/qmp"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/vsock"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// greetDeadline bounds QEMU's start up to its greeting; measured 20 ms.
const greetDeadline = 20 * time.Second

// The descriptors of QEMU after standard error, in the order they are passed.
const (
	qmpDescriptor = 3 + iota
	muxDescriptor
	consoleDescriptor
)

// process is a QEMU that runs.
type process struct {
	pid       int
	monitor   *qmp.Client
	forgotten chan struct{} // closed by the VM when its state shows the end

	cmd       *exec.Cmd
	stderr    tail // of QEMU; whole when exited is closed
	console   *console
	requested atomic.Bool
	shutdown  atomic.Value // string
	exited    chan struct{}
	unlink    func() // ends the uplink and waits for it
}

// startProcess returns when QEMU has greeted, which it does when its CPUs run.
func startProcess(ctx context.Context, spec hypervisor.Spec, binary string, host machine.Host, uplink *vsock.Uplink, incoming func(*serialmux.Request)) (*process, error) {
	for _, path := range ownSockets(spec) {
		if err := removeSocket(path); err != nil {
			return nil, err
		}
	}
	p := &process{forgotten: make(chan struct{}), exited: make(chan struct{}), unlink: func() {}}
	monitor, err := p.spawn(spec, binary, host)
	if err != nil {
		return nil, err
	}
	linkCtx, cancel := context.WithCancel(context.Background())
	linked := make(chan struct{})
	go func() {
		defer close(linked)
		uplink.Run(linkCtx, dialer(machine.MuxPath(spec)), incoming)
	}()
	p.unlink = func() {
		cancel()
		<-linked
	}
	ctx, done := context.WithTimeout(ctx, greetDeadline)
	defer done()
	if p.monitor, err = qmp.Open(ctx, monitor, p.event); err != nil {
		p.kill()
		p.wait()
		if said := p.stderr.lines(4); len(said) > 0 && !errors.Is(err, context.Canceled) {
			return nil, fmt.Errorf("QEMU did not start: %s", strings.Join(said, " / "))
		}
		return nil, fmt.Errorf("QEMU did not start: %w", err)
	}
	return p, nil
}

func dialer(path string) func(context.Context) (io.ReadWriteCloser, error) {
	return func(ctx context.Context) (io.ReadWriteCloser, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
}

// spawn starts QEMU and returns our end of its monitor.
func (p *process) spawn(spec hypervisor.Spec, binary string, host machine.Host) (monitor net.Conn, err error) {
	var files []*os.File // QEMU's, in the order of the descriptors
	defer func() {
		for _, file := range files {
			_ = file.Close()
		}
	}()
	monitor, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	files = append(files, theirs)
	defer func() {
		if err != nil {
			_ = monitor.Close()
		}
	}()
	mux, err := listenFile(machine.MuxPath(spec))
	if err != nil {
		return nil, err
	}
	files = append(files, mux)
	wiring := machine.Wiring{QMP: qmpDescriptor, Mux: muxDescriptor, Console: -1}
	var log net.Conn
	if spec.ConsolePath != "" {
		file, err := openConsole(spec.ConsolePath)
		if err != nil {
			return nil, err
		}
		ours, theirs, err := socketPair()
		if err != nil {
			_ = file.Close()
			return nil, err
		}
		files, log, wiring.Console = append(files, theirs), ours, consoleDescriptor
		p.console = newConsole(file, log)
	}
	p.cmd = exec.Command(binary, machine.Arguments(spec, host, wiring)...)
	p.cmd.ExtraFiles = files
	p.cmd.Env = []string{"LC_ALL=C"}
	p.cmd.Dir = "/"
	p.cmd.Stderr = &p.stderr
	if err := p.run(); err != nil {
		if log != nil {
			_ = log.Close()
		}
		return nil, err
	}
	return monitor, nil
}

// run starts the command on a thread that lives as long as the process: Linux sends the death signal when the thread that started it ends.
func (p *process) run() error {
	tied, ended, err := tie(p.cmd)
	if err != nil {
		return err
	}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer ended()
		if err := p.cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid = p.cmd.Process.Pid
		tied(p.pid)
		started <- nil
		_ = p.cmd.Wait() // how it ended is in the command's state
		close(p.exited)
	}()
	return <-started
}

// event is called for each event of the monitor.
func (p *process) event(e qmp.Event) {
	if e.Name == "SHUTDOWN" {
		p.shutdown.Store(shutdownReason(e))
	}
}

// kill ends QEMU; wait tells when.
func (p *process) kill() {
	p.requested.Store(true)
	_ = killQEMU(p.cmd.Process) // fails only if it has ended
}

// wait returns when QEMU has ended, all it said was read, and nothing of the process is left.
func (p *process) wait() hypervisor.Exit {
	<-p.exited
	p.unlink()
	e := ending{requested: p.requested.Load(), process: p.cmd.ProcessState, stderr: p.stderr.lines(4)}
	if p.monitor != nil {
		<-p.monitor.Done() // QEMU's end is closed; this reads what it sent before
		_ = p.monitor.Close()
	}
	e.shutdown, _ = p.shutdown.Load().(string)
	if p.console != nil {
		<-p.console.done
		e.console = p.console.tail.lines(64)
	}
	return classify(e, time.Now())
}

// listenFile makes a listening socket for QEMU.
func listenFile(path string) (*os.File, error) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	defer func() { _ = listener.Close() }()
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, err
	}
	return listener.File()
}

// socketPair returns two connected ends: ours, and one for QEMU.
func socketPair() (ours net.Conn, theirs *os.File, err error) {
	fds, err := socketDescriptors()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	file := os.NewFile(uintptr(fds[0]), "socketpair")
	defer func() { _ = file.Close() }()
	theirs = os.NewFile(uintptr(fds[1]), "socketpair")
	if ours, err = net.FileConn(file); err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}
