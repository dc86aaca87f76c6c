// Package vmtest makes what tests need to boot a VM: a small guest that serves a few ports (folder guest), and the kernel of this repository.
package vmtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// Kernel returns the kernel that `make kernel` built, and its command line.
func Kernel(t testing.TB) (path, commandLine string) {
	t.Helper()
	path = filepath.Join(root(t), "build", "kernels", "x86_64", "vmlinux")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("this test boots a VM and needs the kernel; build it with: make kernel ARCH=x86_64 (%v)", err)
	}
	return path, "quiet no_timer_check reboot=t panic=-1 noreplace-smp dummy.numdummies=0"
}

// Initrd builds the guest and returns an archive with it as /init. A user who has no compiler or module cache names one built before.
func Initrd(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if built := os.Getenv("VZCTL_TEST_INITRD"); built != "" {
		archive, err := os.ReadFile(built)
		if err == nil {
			built = filepath.Join(dir, "initrd")
			err = os.WriteFile(built, archive, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return built
	}
	binary := filepath.Join(dir, "init")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "./plugins/qemu-hypervisor/vmtest/guest")
	build.Dir = root(t)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the guest: %v\n%s", err, output)
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	const directory, executable, device = 0o040755, 0o100755, 0o020600
	entry(&archive, "dev", directory, 0, 0, nil)
	entry(&archive, "dev/console", device, 5, 1, nil)
	entry(&archive, "init", executable, 0, 0, program)
	entry(&archive, "TRAILER!!!", 0, 0, 0, nil)
	path := filepath.Join(dir, "initrd")
	if err := os.WriteFile(path, archive.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// entry appends a file in cpio's "newc" format.
func entry(archive *bytes.Buffer, name string, mode, major, minor int, content []byte) {
	fields := []int{archive.Len(), mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name) + 1, 0}
	archive.WriteString("070701")
	for _, field := range fields {
		fmt.Fprintf(archive, "%08X", field)
	}
	archive.WriteString(name + "\x00")
	pad := func() {
		for archive.Len()%4 != 0 {
			archive.WriteByte(0)
		}
	}
	pad()
	archive.Write(content)
	pad()
}

func root(t testing.TB) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("where is the source?")
	}
	return filepath.Join(filepath.Dir(file), "..", "..", "..")
}
