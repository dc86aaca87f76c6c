//go:build linux

// Command guest is the smallest init that shows what a VM can do: it serves a few ports to the host until it is told to end.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/serialmux"
	"github.com/vzctl/vzctl/guest/vminitd/sysmon"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/vmtest/port"
)

// remembered is in the guest's memory alone.
var remembered atomic.Value

func main() {
	fmt.Println(port.FirstLine)
	fmt.Println("vzctl-test:", run()) // which ends with an error alone
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART)
}

func run() error {
	for path, kind := range map[string]string{"/proc": "proc", "/sys": "sysfs", "/dev": "devtmpfs"} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(kind, path, kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", path, err)
		}
	}
	if err := sysmon.Slow(); err != nil { // as vminitd, whose streams are measured against those of here
		return err
	}
	guest := serialmux.NewGuest(serialmux.OpenPort(serialmux.PortName))
	for number, serve := range map[uint32]func(*serialmux.Guest, *serialmux.Conn){
		port.Echo: echo, port.Sink: sink, port.Source: source, port.Silent: silent, port.Control: control,
	} {
		listener, err := guest.Listen(number)
		if err != nil {
			return err
		}
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go serve(guest, conn.(*serialmux.Conn))
			}
		}()
	}
	go ready(guest)
	return guest.Serve(context.Background())
}

// ready tells the host that the guest is there, as vminitd does.
func ready(guest *serialmux.Guest) {
	if conn, err := guest.Dial(context.Background(), port.Ready); err == nil {
		_, _ = conn.Write([]byte{1})
		_ = conn.Close()
	}
}

func echo(_ *serialmux.Guest, conn *serialmux.Conn) {
	defer func() { _ = conn.Close() }()
	buffer := make([]byte, 64<<10)
	if _, err := io.CopyBuffer(struct{ io.Writer }{conn}, struct{ io.Reader }{conn}, buffer); err == nil {
		_ = conn.CloseWrite()
	}
}

// sink reads to the end and answers with the digest.
func sink(_ *serialmux.Guest, conn *serialmux.Conn) {
	defer func() { _ = conn.Close() }()
	n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{conn}, make([]byte, 64<<10))
	_, _ = fmt.Fprintf(conn, "%d %v\n", n, err)
}

// source writes as many bytes as the first line asks for.
func source(_ *serialmux.Guest, conn *serialmux.Conn) {
	defer func() { _ = conn.Close() }()
	var size int
	if _, err := fmt.Fscanf(conn, "%d\n", &size); err != nil {
		return
	}
	block := make([]byte, 64<<10)
	for ; size > 0; size -= len(block) {
		if _, err := conn.Write(block[:min(size, len(block))]); err != nil {
			return
		}
	}
}

// silent reads nothing, until the host says on the control port that it may, by way of closing the connection.
func silent(_ *serialmux.Guest, conn *serialmux.Conn) {}

func control(guest *serialmux.Guest, conn *serialmux.Conn) {
	defer func() { _ = conn.Close() }()
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch words[0] {
		case "poweroff":
			syscall.Sync()
			_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART)
		case "panic":
			_ = os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0)
			os.Exit(3) // the end of init panics as well
		case "dial":
			_, _ = fmt.Fprintln(conn, dial(guest, words[1]))
		case "disk":
			_, _ = fmt.Fprintln(conn, disk(words[1]))
		case "write":
			_, _ = fmt.Fprintln(conn, write(words[1], words[2]))
		case "size":
			size, err := os.ReadFile("/sys/block/" + words[1] + "/size")
			_, _ = fmt.Fprintln(conn, strings.TrimSpace(string(size)), err)
		case "remember":
			remembered.Store(words[1])
			_, _ = fmt.Fprintln(conn, "remembered")
		case "recall":
			_, _ = fmt.Fprintln(conn, remembered.Load(), runtime.NumCPU())
		case "churn":
			_, _ = fmt.Fprintln(conn, churn())
		case "random":
			_, _ = fmt.Fprintln(conn, random())
		case "up":
			_, _ = fmt.Fprintln(conn, up(words[1]))
		case "links":
			_, _ = fmt.Fprintln(conn, links())
		}
	}
}

// dial connects to the host and returns all it says.
func dial(guest *serialmux.Guest, text string) string {
	var number uint32
	_, _ = fmt.Sscan(text, &number)
	conn, err := guest.Dial(context.Background(), number)
	if err != nil {
		return "error " + err.Error()
	}
	defer func() { _ = conn.Close() }()
	said, err := io.ReadAll(conn)
	return fmt.Sprintf("%s %v", said, err)
}

// random returns what the machine's source of random numbers gives.
func random() string {
	file, err := os.Open("/dev/hwrng")
	if err != nil {
		return err.Error()
	}
	defer func() { _ = file.Close() }()
	numbers := make([]byte, 256)
	if _, err := io.ReadFull(file, numbers); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%x", numbers)
}

// disk finds a disk by its serial and returns the digest of its first 4 KiB.
func disk(serial string) string {
	entries, _ := os.ReadDir("/sys/block")
	for _, entry := range entries {
		got, _ := os.ReadFile("/sys/block/" + entry.Name() + "/serial")
		if string(got) != serial {
			continue
		}
		readOnly, _ := os.ReadFile("/sys/block/" + entry.Name() + "/ro")
		file, err := os.Open("/dev/" + entry.Name())
		if err != nil {
			return err.Error()
		}
		defer func() { _ = file.Close() }()
		block := make([]byte, 4096)
		if _, err := io.ReadFull(file, block); err != nil {
			return err.Error()
		}
		return fmt.Sprintf("ro=%s %x", strings.TrimSpace(string(readOnly)), sha256.Sum256(block))
	}
	return "no disk"
}

// write puts text at the start of a disk, through to the host.
func write(serial, text string) string {
	entries, _ := os.ReadDir("/sys/block")
	for _, entry := range entries {
		if got, _ := os.ReadFile("/sys/block/" + entry.Name() + "/serial"); string(got) != serial {
			continue
		}
		file, err := os.OpenFile("/dev/"+entry.Name(), os.O_WRONLY, 0)
		if err != nil {
			return err.Error()
		}
		defer func() { _ = file.Close() }()
		if _, err := file.WriteString(text); err != nil {
			return err.Error()
		}
		if err := file.Sync(); err != nil {
			return err.Error()
		}
		return "written"
	}
	return "no disk"
}

// up lets a network card send.
func up(name string) string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = unix.Close(fd) }()
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err.Error()
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return err.Error()
	}
	return "up"
}

func links() string {
	interfaces, err := net.Interfaces()
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, i := range interfaces {
		if i.Name != "lo" {
			out = append(out, fmt.Sprintf("%s %s %d", i.Name, i.HardwareAddr, i.MTU))
		}
	}
	return strings.Join(out, ", ")
}

// churn uses a good part of the memory and gives it back to the kernel, which reports it to the host.
func churn() string {
	const size = 96 << 20
	memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err.Error()
	}
	for i := 0; i < size; i += 4096 {
		memory[i] = 0xff
	}
	if err := unix.Munmap(memory); err != nil {
		return err.Error()
	}
	return "churned"
}
