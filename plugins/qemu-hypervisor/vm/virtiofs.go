package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/machine"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/virtiofsd"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// A share by virtio-fs is served by a virtiofsd of its own. It lives as long as QEMU: QEMU does not go on without it, as the guest's processes would wait for its answers
// for ever, and it does not without QEMU. What it serves it finds in a mount namespace of its own, see enclose.

// daemon is a virtiofsd that runs.
type daemon struct {
	share  hypervisor.Share
	cmd    *exec.Cmd
	stderr tail
	exited chan struct{} // its state and its words are whole when this is closed
}

// leavePatience is how long QEMU may take to end after a virtiofsd to which it has closed the connection.
const leavePatience = 5 * time.Second

// startDaemons starts what the shares by virtio-fs need, and returns the ends of their sockets for QEMU, by the shares' numbers. After an error nothing is left.
func startDaemons(s hypervisor.Spec) (daemons []*daemon, sockets map[int]*os.File, err error) {
	if !machine.ByVirtioFS(s) {
		return nil, nil, nil
	}
	path, err := virtiofsd.Find()
	if err != nil {
		return nil, nil, err
	}
	program, err := virtiofsd.Identify(context.Background(), path)
	if err != nil {
		return nil, nil, err
	}
	sockets = map[int]*os.File{}
	defer func() {
		if err == nil {
			return
		}
		for _, socket := range sockets {
			_ = socket.Close()
		}
		endDaemons(daemons)
	}()
	for i, share := range s.Shares {
		if share.Type != hypervisor.ShareVirtioFS {
			continue
		}
		dir := machine.ShareDir(s, i)
		if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
			return daemons, sockets, err
		}
		d, socket, err := startDaemon(program, share, dir, filepath.Join(s.RuntimeDir, fmt.Sprintf("fs%d", i)))
		if err != nil {
			return daemons, sockets, badFile("share", share.Path, err)
		}
		daemons, sockets[i] = append(daemons, d), socket
	}
	return daemons, sockets, nil
}

// startDaemon starts a virtiofsd that serves a share, which it finds in dir. The socket it listens on has a name, in a directory of ours alone, until it is connected:
// there is nothing for others to find, nor to remove.
func startDaemon(program virtiofsd.Program, share hypervisor.Share, dir, name string) (*daemon, *os.File, error) {
	if err := removeSocket(name); err != nil {
		return nil, nil, err
	}
	listener, err := listenFile(name)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = listener.Close() }()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: name, Net: "unix"})
	if err = errors.Join(err, os.Remove(name)); err != nil {
		return nil, nil, err
	}
	defer func() { _ = conn.Close() }()
	socket, err := conn.File()
	if err != nil {
		return nil, nil, err
	}
	d := &daemon{share: share, exited: make(chan struct{})}
	d.cmd = exec.Command(program.Path, program.Arguments(firstDescriptor, dir)...)
	d.cmd.ExtraFiles = []*os.File{listener}
	d.cmd.Env = []string{"LC_ALL=C"}
	d.cmd.Dir = "/"
	d.cmd.Stderr = &d.stderr
	if err := d.run(dir); err != nil {
		_ = socket.Close()
		return nil, nil, err
	}
	return d, socket, nil
}

// run starts the command as process.run does.
func (d *daemon) run(dir string) error {
	tied, ended, err := tie(d.cmd)
	if err != nil {
		return err
	}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and not unlocked: the thread ends with the goroutine, and its view of the file system with it and with virtiofsd
		defer ended()
		if err := enclose(d.share, dir); err != nil {
			started <- err
			return
		}
		if err := d.cmd.Start(); err != nil {
			started <- err
			return
		}
		tied(d.cmd.Process.Pid)
		started <- nil
		_ = d.cmd.Wait()                                      // how it ended is in the command's state
		_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL) // what it has started is in its group
		close(d.exited)
	}()
	return <-started
}

// endDaemons returns when nothing is left of them.
func endDaemons(daemons []*daemon) {
	for _, d := range daemons {
		select {
		case <-d.exited:
		default:
			_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL) // fails only if it has just ended
			<-d.exited
		}
	}
}

// watchDaemons ends QEMU when a virtiofsd ends before it does.
func (p *process) watchDaemons() {
	for _, d := range p.daemons {
		go func() { // ends with virtiofsd, which ends with QEMU
			select {
			case <-p.exited:
				return
			case <-d.exited:
			}
			if d.cmd.ProcessState.Success() { // QEMU has closed the connection; it does so when it ends
				select {
				case <-p.exited:
					return
				case <-time.After(leavePatience):
				}
			}
			p.lost.CompareAndSwap(nil, d.lastWords())
			_ = killQEMU(p.cmd.Process)
		}()
	}
}

// failedDaemon returns the last words of a virtiofsd that has given up, of which QEMU only knows that nobody answers; or "". All have ended.
func (p *process) failedDaemon() string {
	for _, d := range p.daemons {
		if d.cmd.ProcessState.ExitCode() > 0 {
			return d.lastWords()
		}
	}
	return ""
}

// lastWords say that a share is gone, and why.
func (d *daemon) lastWords() string {
	words := fmt.Sprintf("%s is not shared any more, as its virtiofsd has ended: %s", d.share.Path, d.cmd.ProcessState)
	if said := d.stderr.lines(4); len(said) > 0 {
		words += "; it said: " + strings.Join(said, " / ")
	}
	return words
}
