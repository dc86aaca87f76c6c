// Package guest boots vminitd in QEMU, without plugins, for the tests of the guest: the machine of the QEMU plugin's fast profile, its transport, and
// root file systems made of Debian's static busybox. machine.go is the VM, guest.go the agent's client, disks.go the disks.
package guest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/vzctl/vzctl/guest/serialmux"
)

// Options of a VM.
type Options struct {
	// Disks are image files by serial, in the order of the devices.
	Disks []Disk
	// MemoryMiB is 256 if zero.
	MemoryMiB int
	// CPUs is 1 if zero.
	CPUs int
	// Words are more of the kernel's command line.
	Words string
	// Arguments are more of QEMU's.
	Arguments []string
}

// Disk is a virtio disk.
type Disk struct {
	Serial, Path string
	ReadOnly     bool
}

// VM is a machine that runs.
type VM struct {
	Session *serialmux.Session
	// Started is when QEMU was executed; Ready when the guest was connected.
	Started, Ready time.Time

	command *exec.Cmd
	ended   chan struct{}
	console *console
	socket  net.Conn
}

// kernel returns the kernel that `make kernel` built.
func kernel(t testing.TB) string {
	t.Helper()
	path := filepath.Join(repository(t), "build/kernels/x86_64/vmlinux")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("needs a guest kernel, see `make kernel`: %v", err)
	}
	return path
}

func repository(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatalf("find the repository: %v", err)
	}
	return string(bytes.TrimSpace(out))
}

var built struct {
	once sync.Once
	dir  string
	err  error
}

// Initrd builds vminitd as the release is, once for all tests of a run, and packs it.
func Initrd(t testing.TB) string {
	t.Helper()
	root := repository(t)
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "vzctl-guest-"); built.err != nil {
			return
		}
		built.err = command(root, "go", "build", "-trimpath", "-tags", "grpcnotrace", "-ldflags", "-s -w -X runtime.godebugDefault=asyncpreemptoff=1,updatemaxprocs=0", "-o", built.dir+"/vminitd", "./guest/vminitd")
		if built.err == nil {
			built.err = command(root, "go", "run", "./guest/initrd", "-o", built.dir+"/initrd.cpio", built.dir+"/vminitd")
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.dir + "/initrd.cpio"
}

// Clean removes what Initrd made. For TestMain.
func Clean() error {
	if built.dir == "" {
		return nil
	}
	return os.RemoveAll(built.dir)
}

func command(dir, name string, args ...string) error {
	c := exec.Command(name, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", c, err, out)
	}
	return nil
}

// bootPatience is far more than any boot takes; it ends tests that hang.
const bootPatience = 2 * time.Minute

// Boot starts a VM and returns once the guest is connected. It ends with the test, whose log shows the console if the test failed.
func Boot(t testing.TB, o Options) *VM {
	t.Helper()
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Fatalf("needs QEMU: %v", err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "mux")
	arguments := arguments(kernel(t), Initrd(t), path, o)
	vm := &VM{ended: make(chan struct{}), console: &console{}}
	ctx, cancel := context.WithTimeout(t.Context(), bootPatience)
	defer cancel()
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	vm.command = exec.Command("qemu-system-x86_64", arguments...)
	vm.command.Stdout, vm.command.Stderr = vm.console, vm.console
	vm.Started = time.Now()
	if err := vm.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = vm.command.Wait()
		close(vm.ended)
		_ = listener.Close()
	}()
	t.Cleanup(func() { vm.stop(t) })
	if vm.socket, err = listener.Accept(); err != nil {
		t.Fatal("QEMU did not connect")
	}
	if vm.Session, err = serialmux.Host(ctx, vm.socket, nil); err != nil {
		t.Fatalf("the guest did not connect: %v", err)
	}
	vm.Ready = time.Now()
	return vm
}

// Ended is closed when QEMU has.
func (vm *VM) Ended() <-chan struct{} { return vm.ended }

// Console returns what the guest has said so far.
func (vm *VM) Console() string { return vm.console.String() }

func (vm *VM) stop(t testing.TB) {
	_ = vm.command.Process.Kill()
	<-vm.ended
	if vm.Session != nil {
		_ = vm.Session.Close()
	}
	if t.Failed() {
		t.Logf("the guest's console:\n%s", vm.console)
	}
}

// arguments are those of the measured machine, see kernel/README.md.
func arguments(kernel, initrd, socket string, o Options) []string {
	cpus, memory := max(o.CPUs, 1), o.MemoryMiB
	if memory == 0 {
		memory = 256
	}
	khz := hostTSC()
	words := fmt.Sprintf("console=ttyS0 quiet reboot=t panic=-1 no_timer_check noreplace-smp dummy.numdummies=0 acpi=off pci=off "+
		"tsc=reliable tsc_early_khz=%d lpj=%d %s", khz, khz*10, o.Words)
	if cpus == 1 {
		words += " nolapic_timer"
	}
	words += " lapic_timer_khz=1000000"
	arguments := []string{"-accel", "tcg", "-M", "microvm,acpi=off,x-option-roms=off,rtc=on,pic=on,pit=on,isa-serial=on",
		"-cpu", "max,-erms,-fsrm", "-smp", strconv.Itoa(cpus), "-m", strconv.Itoa(memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-global", "virtio-mmio.force-legacy=off", "-kernel", kernel, "-initrd", initrd, "-append", words,
		"-device", "virtio-rng-device",
		"-chardev", "socket,id=mux,path=" + socket, "-device", "virtio-serial-device,max_ports=2",
		"-device", "virtserialport,chardev=mux,name=" + serialmux.PortName}
	for i, d := range o.Disks {
		id := "disk" + strconv.Itoa(i)
		access := "off"
		if d.ReadOnly {
			access = "on"
		}
		arguments = append(arguments, "-drive", fmt.Sprintf("if=none,id=%s,file=%s,format=raw,read-only=%s", id, d.Path, access),
			"-device", fmt.Sprintf("virtio-blk-device,drive=%s,serial=%s", id, d.Serial))
	}
	return append(arguments, o.Arguments...)
}

var megahertz = regexp.MustCompile(`cpu MHz\s*:\s*([0-9]+)\.([0-9]{3})`)

// hostTSC returns the host's cycle counter rate in kHz, which is the guest's under emulation.
func hostTSC() int {
	text, _ := os.ReadFile("/proc/cpuinfo") // then the guest calibrates
	if match := megahertz.FindSubmatch(text); match != nil {
		khz, _ := strconv.Atoi(string(match[1]) + string(match[2])) // digits
		return khz
	}
	return 0
}

// console keeps what the guest says.
type console struct {
	mu   sync.Mutex
	text bytes.Buffer
}

const maxConsole = 1 << 20

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.text.Len() < maxConsole {
		c.text.Write(p)
	}
	return len(p), nil
}

// String returns all of it.
func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}
