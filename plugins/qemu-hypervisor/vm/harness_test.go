package vm

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/accel"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/vmtest"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/vmtest/port"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// bootDeadline is generous: the machine may be busy with other things.
const bootDeadline = 60 * time.Second

// TestMain lets the test binary be the child that probes KVM, or one that holds a VM which stands by.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "probe-kvm" {
		accel.Probe()
		return
	}
	if len(os.Args) > 1 && os.Args[1] == HoldArgument {
		os.Exit(Hold())
	}
	os.Exit(m.Run())
}

// newManager returns a hypervisor that ends its VMs with the test.
func newManager(t testing.TB) *Manager {
	t.Helper()
	host, tsc := accel.Look(context.Background(), runtime.GOOS, runtime.GOARCH, []string{os.Args[0], "probe-kvm"})
	m := New(host, tsc, hclog.NewNullLogger())
	t.Cleanup(func() {
		if err := m.Shutdown(within(t, 20*time.Second)); err != nil {
			t.Error(err)
		}
	})
	return m
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

var initrd = sync.OnceValue(func() func(testing.TB) string {
	var once sync.Once
	var path string
	return func(t testing.TB) string {
		once.Do(func() {
			built := vmtest.Initrd(t)
			dir, err := os.MkdirTemp("", "vzctl-vm-test-")
			if err != nil {
				t.Fatal(err)
			}
			path = filepath.Join(dir, "initrd")
			if err := os.Rename(built, path); err != nil {
				t.Fatal(err)
			}
		})
		if path == "" {
			t.Fatal("the guest could not be built, see above")
		}
		return path
	}
})

// specOf returns a VM that boots the test guest, with a console.
func specOf(t testing.TB, id string) hypervisor.Spec {
	t.Helper()
	kernel, words := vmtest.Kernel(t)
	return hypervisor.Spec{
		ID: id, Arch: "amd64", CPUs: 1, MemoryBytes: 256 << 20,
		Kernel:      hypervisor.Kernel{Path: kernel, Format: "elf-pvh", CommandLine: words},
		InitrdPath:  initrd()(t),
		ConsolePath: filepath.Join(t.TempDir(), "console.log"),
		RuntimeDir:  shortDir(t),
	}
}

// shortDir is short enough for sockets, whatever the test is called.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vz")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// boot creates and starts a VM and waits until its guest answers.
func boot(t testing.TB, m *Manager, spec hypervisor.Spec) hypervisor.VM {
	t.Helper()
	if _, err := m.Create(context.Background(), "test", spec); err != nil {
		t.Fatal(err)
	}
	vm, err := m.Start(within(t, bootDeadline), spec.ID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && spec.ConsolePath != "" {
			text, _ := os.ReadFile(spec.ConsolePath)
			t.Logf("console of %s:\n%s", spec.ID, text)
		}
	})
	_ = dial(t, vm, port.Echo).Close()
	return vm
}

// dial connects to a port of the guest by hybrid vsock, waiting for the guest to boot.
func dial(t testing.TB, vm hypervisor.VM, number uint32) *net.UnixConn {
	t.Helper()
	conn, err := tryDial(vm.VsockPath, number)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func tryDial(path string, number uint32) (*net.UnixConn, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(bootDeadline))
	_, err = fmt.Fprintf(conn, "CONNECT %d\n", number)
	var answer []byte
	for err == nil && (len(answer) == 0 || answer[len(answer)-1] != '\n') {
		var b [1]byte
		if _, err = conn.Read(b[:]); err == nil {
			answer = append(answer, b[0])
		}
	}
	if err == nil && !strings.HasPrefix(string(answer), "OK ") {
		err = fmt.Errorf("answer %q", answer)
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connect to port %d of the guest: %w", number, err)
	}
	return conn, nil
}

// tell sends a command to the guest and returns its answer.
func tell(t testing.TB, vm hypervisor.VM, format string, args ...any) string {
	t.Helper()
	conn := dial(t, vm, port.Control)
	if _, err := fmt.Fprintf(conn, format+"\n", args...); err != nil {
		t.Fatal(err)
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return strings.TrimSpace(answer)
}

// exitOf waits until the VM has stopped and returns why.
func exitOf(t testing.TB, m *Manager, id string) hypervisor.Exit {
	t.Helper()
	var exit *hypervisor.Exit
	ctx, cancel := context.WithTimeout(context.Background(), bootDeadline)
	defer cancel()
	_ = m.Watch(ctx, id, func(vm hypervisor.VM) {
		if vm.State == hypervisor.Stopped {
			exit = vm.Exit
			cancel()
		}
	})
	if exit == nil {
		t.Fatal("the VM does not stop")
	}
	return *exit
}
