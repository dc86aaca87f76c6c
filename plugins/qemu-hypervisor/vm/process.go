package vm

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/standby"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/vsock"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// greetDeadline bounds QEMU's start up to its greeting; measured 20 ms.
const greetDeadline = 20 * time.Second

// firstDescriptor of those that QEMU gets after standard error.
const firstDescriptor = 3

// birth is how a VM comes to life. The zero value boots it.
type birth struct {
	// memory is the file with the guest's memory; nil: QEMU's own.
	memory *os.File
	// shared has the guest's writes reach the file.
	shared bool
	// disks are the descriptors by which QEMU will have the writable disks; nil: nobody knows. See holes.go.
	disks []int
	// state of the devices; the VM goes on from there instead of booting.
	state *os.File
	// sizes are those that its guest knows the VM's disks by, in bytes.
	sizes []int64
	// paused says that the state is all of a VM, its memory too, and that it goes on later. named is for that memory, see machine.Wiring.
	paused, named bool
	// standby has what a QEMU gets to be forked; nil: it is not.
	standby *standbyFiles
	// console is what the guest has said before.
	console []byte
}

// process is a QEMU that runs.
type process struct {
	pid       int
	monitor   *qmp.Client
	greeted   chan struct{} // closed once there is a monitor
	forgotten chan struct{} // closed by the VM when its state shows the end

	template  string // that it was cloned from, or ""
	shape     string // of the VM that it was forked from, or ""
	begun     time.Time
	cmd       *exec.Cmd     // nil of a copy
	copy      *standby.Copy // nil if we have started QEMU
	kills     func() error  // fails only if it has ended
	stderr    tail          // of QEMU; whole when exited is closed
	console   *console
	requested atomic.Bool
	shutdown  atomic.Value // string
	exited    chan struct{}
	unlink    func() // ends the uplink and waits for it

	daemons    []*daemon     // virtiofsds
	lost       atomic.Value  // string: what QEMU was killed for, as it cannot be without it
	gate       gate          // to the guest's serial port
	portOpened chan struct{} // holds one after the guest has opened its serial port
	portClosed chan struct{} // holds one after it has closed it
	migrated   chan string   // gets how the reading or writing of a state has ended
	named      bool          // the guest's memory has a name of its own
	forkable   bool          // it will be stopped by ptrace(2)
	computes   bool          // its CPUs are emulated
	primed     bool          // it is the copy of one that knows its image
}

// startProcess returns when the VM's CPUs run.
func startProcess(ctx context.Context, spec hypervisor.Spec, binary string, host machine.Host, from birth, uplink *vsock.Uplink, incoming func(*serialmux.Request)) (*process, error) {
	p, monitor, err := spawn(spec, binary, host, from)
	if err != nil {
		return nil, err
	}
	p.link(spec, uplink, incoming)
	greeting, done := context.WithTimeout(ctx, greetDeadline)
	defer done()
	if err := p.greet(greeting, monitor); err != nil {
		return nil, err
	}
	if from.disks != nil {
		if err := checkDescriptors(p.pid, from.disks, spec); err != nil {
			p.kill()
			p.wait()
			return nil, err
		}
	}
	switch {
	case from.paused: // which takes as long as the memory is large
		if err := p.readState(ctx, from.state, whole); err != nil {
			return nil, p.failed("did not take up the snapshot", err)
		}
	case from.state != nil:
		if err := p.resume(greeting, spec, from); err != nil {
			return nil, p.failed("did not take up the template", err)
		}
	}
	return p, nil
}

// link keeps a session with the guest while QEMU is there.
func (p *process) link(spec hypervisor.Spec, uplink *vsock.Uplink, incoming func(*serialmux.Request)) {
	ctx, cancel := context.WithCancel(context.Background())
	linked := make(chan struct{})
	go func() {
		defer close(linked)
		uplink.Run(ctx, p.gate.through(p.dial(spec)), incoming)
	}()
	p.unlink = func() {
		cancel()
		<-linked
	}
}

// greet returns when QEMU has greeted, which it does when its CPUs run or, with a state to come, when it waits for that. After an error nothing is left
// of the process.
func (p *process) greet(ctx context.Context, monitor net.Conn) (err error) {
	if p.monitor, err = qmp.Open(ctx, monitor, p.event); err != nil {
		return p.failed("did not start", err)
	}
	close(p.greeted)
	return nil
}

// failed ends QEMU and returns an error with its last words.
func (p *process) failed(how string, err error) error {
	p.kill()
	p.wait()
	if said := p.failedDaemon(); said != "" {
		return errors.New(said)
	}
	if said := p.stderr.lines(4); len(said) > 0 && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("QEMU %s: %s", how, strings.Join(said, " / "))
	}
	return fmt.Errorf("QEMU %s: %w", how, err)
}

// spawn starts QEMU and returns our end of its monitor.
func spawn(spec hypervisor.Spec, binary string, host machine.Host, from birth) (p *process, monitor net.Conn, err error) {
	for _, path := range ownSockets(spec) {
		if err := removeSocket(path); err != nil {
			return nil, nil, err
		}
	}
	p = newProcess(from)
	p.computes = host.Accelerator == machine.TCG
	if from.paused {
		p.gate.shut()
	}
	var files, ours []*os.File // QEMU's, in the order of their descriptors; and those of them that are closed here
	give := func(file *os.File) int {
		files = append(files, file)
		return firstDescriptor + len(files) - 1
	}
	defer func() {
		for _, file := range ours {
			_ = file.Close()
		}
	}()
	spec, binds, err := shared(spec)
	if err != nil {
		return nil, nil, err
	}
	daemons, served, err := startDaemons(spec)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			endDaemons(daemons)
		}
	}()
	p.daemons = daemons
	for _, socket := range served {
		ours = append(ours, socket)
	}
	if len(daemons) > 0 { // a VM with them is neither a clone nor restored
		if from.memory, err = sharedMemory(spec.MemoryBytes); err != nil {
			return nil, nil, err
		}
		ours = append(ours, from.memory)
		from.shared = true
	}
	monitor, theirs, err := socketPair()
	if err != nil {
		return nil, nil, err
	}
	ours = append(ours, theirs)
	defer func() {
		if err != nil {
			_ = monitor.Close()
		}
	}()
	mux, err := listenFile(machine.MuxPath(spec))
	if err != nil {
		return nil, nil, err
	}
	ours = append(ours, mux)
	wiring := machine.Wiring{QMP: give(theirs), Mux: give(mux), Console: -1, Shared: from.shared, Named: from.named, Incoming: from.state != nil,
		VirtioFS: map[int]int{}, Forked: from.standby != nil}
	if from.standby != nil {
		wiring.NICs = from.standby.give(give)
	}
	for i, socket := range served {
		wiring.VirtioFS[i] = give(socket)
	}
	var log net.Conn
	if spec.ConsolePath != "" {
		file, err := openConsole(spec.ConsolePath)
		if err != nil {
			return nil, nil, err
		}
		_, _ = file.Write(from.console) // as what follows, if it cannot be written it is missing
		var end *os.File
		if log, end, err = socketPair(); err != nil {
			_ = file.Close()
			return nil, nil, err
		}
		ours = append(ours, end)
		wiring.Console = give(end)
		p.console = newConsole(file, log)
	}
	if from.memory != nil {
		wiring.Memory = give(from.memory)
	}
	p.cmd = exec.Command(binary, machine.Arguments(spec, host, wiring)...)
	p.cmd.ExtraFiles = files
	p.cmd.Env = []string{"LC_ALL=C"}
	p.cmd.Dir = "/"
	p.cmd.Stderr = &p.stderr
	p.kills = func() error { return killQEMU(p.cmd.Process) }
	if err := p.run(from.holes(), binds); err != nil {
		if log != nil {
			_ = log.Close()
		}
		return nil, nil, err
	}
	p.watchDaemons()
	return p, monitor, nil
}

func newProcess(from birth) *process {
	return &process{begun: time.Now(), forgotten: make(chan struct{}), exited: make(chan struct{}), greeted: make(chan struct{}), unlink: func() {},
		portOpened: make(chan struct{}, 1), portClosed: make(chan struct{}, 1), migrated: make(chan string, 1), named: from.named || from.memory != nil || from.standby != nil,
		forkable: from.standby != nil}
}

// run starts the command on a thread that lives as long as the process: Linux sends the death signal when the thread that started it ends. holes are the files that
// QEMU may punch them into; binds are what it alone sees.
func (p *process) run(holes holes, binds []bind) error {
	tied, ended, err := tie(p.cmd)
	if err != nil {
		return err
	}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and not unlocked: the thread ends with the goroutine, and with it what is restricted
		defer ended()
		if len(binds) > 0 {
			if err := bindFiles(binds); err != nil {
				started <- err
				return
			}
		}
		if holes.limited {
			if err := limitHoles(holes.descriptors); err != nil {
				started <- err
				return
			}
		}
		if p.computes {
			giveWay()
		}
		if err := p.cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid = p.cmd.Process.Pid
		tied(p.pid)
		started <- nil
		if p.forkable {
			awaitExit(p.pid)
		}
		_ = p.cmd.Wait() // how it ended is in the command's state
		close(p.exited)
	}()
	return <-started
}

// event is called for each event of the monitor.
func (p *process) event(e qmp.Event) {
	switch e.Name {
	case "SHUTDOWN":
		p.shutdown.Store(shutdownReason(e))
	case "STOP":
		if !p.forkable { // its copies would answer
			go p.halted() // which asks QEMU, and so cannot be done here
		}
	case "VSERPORT_CHANGE":
		switch opened, known := portChange(e); {
		case known && opened:
			offer(p.portOpened, struct{}{})
		case known:
			offer(p.portClosed, struct{}{})
		}
	case "MIGRATION":
		if status := migrationStatus(e); status == migrationCompleted || status == migrationFailed || status == migrationCancelled {
			offer(p.migrated, status)
		}
	}
}

// offer does not wait for who takes it: once is enough.
func offer[T any](to chan T, value T) {
	select {
	case to <- value:
	default:
	}
}

// kill ends QEMU; wait tells when.
func (p *process) kill() {
	p.requested.Store(true)
	_ = p.kills() // fails only if it has ended
}

// how it ended, when it has.
func (p *process) how() string {
	switch {
	case p.copy != nil:
		return p.copy.How()
	case p.cmd != nil && p.cmd.ProcessState != nil:
		return p.cmd.ProcessState.String()
	}
	return ""
}

// wait returns when QEMU has ended, all it said was read, and nothing of the process is left.
func (p *process) wait() hypervisor.Exit {
	<-p.exited
	endDaemons(p.daemons)
	p.unlink()
	e := ending{requested: p.requested.Load(), how: p.how(), stderr: p.stderr.lines(4)}
	if p.monitor != nil {
		<-p.monitor.Done() // QEMU's end is closed; this reads what it sent before
		_ = p.monitor.Close()
	}
	if p.copy != nil {
		_ = p.copy.Close()
	}
	e.shutdown, _ = p.shutdown.Load().(string)
	e.lost, _ = p.lost.Load().(string)
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
