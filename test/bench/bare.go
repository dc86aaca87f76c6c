package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/accel"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/machine"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/network"
)

// bare boots the virtual machine of a container without vzctl: the command line is that of the hypervisor plugin, with as many disks and network
// cards as a container has, but nobody is at the other end of them.
type bare struct {
	dir    string
	qemu   string
	host   machine.Host
	kernel hypervisor.Kernel
	cpus   uint32
	memory uint64
	disk   string // an empty one
}

// newBare takes size and kernel of the machine from vzctl.
func newBare(ctx context.Context, s *stage) (*bare, error) {
	b := &bare{dir: s.dir, disk: s.path("empty.img")}
	name, install := machine.Binary(runtime.GOARCH)
	var err error
	if b.qemu, err = exec.LookPath(name); err != nil {
		return nil, fmt.Errorf("%w; %s", err, install)
	}
	if err := errors.Join(os.WriteFile(b.disk, nil, 0o600), os.Truncate(b.disk, 1<<30)); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	host, tsc := accel.Look(ctx, runtime.GOOS, runtime.GOARCH, []string{self, probeArgument})
	choice, err := accel.Choose(host, "auto", runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	b.host = machine.Host{OS: runtime.GOOS, Accelerator: choice.Accelerator, TSCKilohertz: tsc}
	plan, err := s.plan(ctx)
	if err != nil {
		return nil, err
	}
	b.cpus, b.memory = plan.CPUs, plan.MemoryBytes
	b.kernel = hypervisor.Kernel{Path: plan.Kernel.Path, Format: plan.Kernel.Format, CommandLine: plan.Kernel.CommandLine}
	return b, nil
}

// plan is what vzctl decides on the machine of a container if nobody says otherwise.
func (s *stage) plan(ctx context.Context) (plan store.Sandbox, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	id, err := output(s.vzctl(ctx, "create", s.image, "/bin/true"))
	if err != nil {
		return plan, err
	}
	st, err := store.OpenPaths(store.Paths{Root: s.root, Run: s.root})
	if err != nil {
		return plan, err
	}
	container, err := st.Get(strings.TrimSpace(id))
	if err == nil {
		plan, err = st.GetSandbox(container.Sandbox)
	}
	return plan, errors.Join(err, quiet(s.vzctl(ctx, "rm", container.ID)))
}

// guest is a booting or running bare machine.
type guest struct {
	cmd     *exec.Cmd
	console *bufio.Reader
	mux     string // socket of the virtio-serial port
	said    strings.Builder
	ended   chan error
	release func()
}

// boot starts a machine; end must be called.
func (b *bare) boot(ctx context.Context, kernel hypervisor.Kernel, initrd string) (*guest, error) {
	dir, err := os.MkdirTemp(b.dir, "g")
	if err != nil {
		return nil, err
	}
	g := &guest{mux: filepath.Join(dir, "mux"), ended: make(chan error, 1)}
	qmp, qmpThere, err := socketPair()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	console, consoleThere, err := socketPair()
	if err != nil {
		return nil, errors.Join(err, qmp.Close(), qmpThere.Close(), os.RemoveAll(dir))
	}
	mux, err := listen(g.mux)
	if err != nil {
		return nil, errors.Join(err, qmp.Close(), qmpThere.Close(), console.Close(), consoleThere.Close(), os.RemoveAll(dir))
	}
	g.console = bufio.NewReader(console)
	g.release = func() {
		_ = errors.Join(qmp.Close(), console.Close(), os.RemoveAll(dir)) // nothing is lost with them
	}
	spec := hypervisor.Spec{
		ID: "bare", Arch: runtime.GOARCH, CPUs: b.cpus, MemoryBytes: b.memory, Kernel: kernel, InitrdPath: initrd,
		Disks: []hypervisor.Disk{
			{Serial: "rootfs0", ReadOnly: true, File: &hypervisor.FileBackend{Path: b.disk}},
			{Serial: "layer", File: &hypervisor.FileBackend{Path: filepath.Join(dir, "layer.img")}},
		},
		NICs: []hypervisor.NIC{{Link: network.Link{UnixDatagram: &network.UnixDatagram{
			VMPath: filepath.Join(dir, "vm"), NetworkPath: filepath.Join(dir, "network")}}}},
	}
	if err := errors.Join(os.WriteFile(spec.Disks[1].File.Path, nil, 0o600), os.Truncate(spec.Disks[1].File.Path, 1<<30)); err != nil {
		g.release()
		return nil, err
	}
	g.cmd = exec.CommandContext(ctx, b.qemu, machine.Arguments(spec, b.host, machine.Wiring{QMP: 3, Console: 4, Mux: 5})...)
	g.cmd.Stderr = &g.said
	g.cmd.ExtraFiles = []*os.File{qmpThere, consoleThere, mux}
	err = g.cmd.Start()
	_ = errors.Join(qmpThere.Close(), consoleThere.Close(), mux.Close()) // QEMU has them
	if err != nil {
		g.release()
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	go func() { g.ended <- g.cmd.Wait() }()
	return g, nil
}

// await reads the console until the guest has said word.
func (g *guest) await(word string) error {
	for {
		line, err := g.console.ReadString('\n')
		if strings.Contains(line, word) {
			return nil
		}
		if g.said.Len() < 64<<10 {
			g.said.WriteString(line)
		}
		if err != nil {
			return fmt.Errorf("the guest ended before it said %q: %w; the last words: %s", word, err, g.said.String())
		}
	}
}

// wait returns when the machine has ended by itself.
func (g *guest) wait() error {
	_, _ = io.Copy(io.Discard, g.console) // so that the guest never waits for a reader
	defer g.release()
	return <-g.ended
}

// kill ends a machine that does not end by itself.
func (g *guest) kill() {
	_ = g.cmd.Process.Kill() // it has ended otherwise
	_ = g.wait()
}

// boots measures from QEMU's exec until it has ended, which the guest has to bring about after saying word.
func (b *bare) boots(kernel hypervisor.Kernel, initrd, word string) once {
	return func(ctx context.Context) (float64, error) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		began := time.Now()
		g, err := b.boot(ctx, kernel, initrd)
		if err != nil {
			return 0, err
		}
		err = errors.Join(g.await(word), g.wait())
		return time.Since(began).Seconds(), err
	}
}

func socketPair() (here, there *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "here"), os.NewFile(uintptr(fds[1]), "there"), nil
}

func listen(path string) (*os.File, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	file, err := l.File()
	return file, errors.Join(err, l.Close())
}
