package guest

import (
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFiltersThatTheKernelMakesOnce is about kernel/patches/0003: many processes have one filter then, and each its own all the same. No process of a container gets there, as each has a filter of vminitd's.
func TestFiltersThatTheKernelMakesOnce(t *testing.T) {
	dir, root := t.TempDir(), repository(t)
	program, initrd, mux := filepath.Join(dir, "filters"), filepath.Join(dir, "initrd.cpio"), filepath.Join(dir, "mux")
	if err := command(root, "go", "build", "-o", program, "./test/guest/filters"); err != nil {
		t.Fatal(err)
	}
	if err := command(root, "go", "run", "./guest/initrd", "-o", initrd, program); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", mux)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	for cpus, name := range map[int]string{1: "one CPU", 2: "two CPUs"} {
		t.Run(name, func(t *testing.T) {
			machine := exec.CommandContext(t.Context(), "qemu-system-x86_64", arguments(kernel(t), initrd, mux, Options{CPUs: cpus})...)
			console, err := machine.CombinedOutput()
			said := string(console)
			if err != nil || !strings.Contains(said, "filters: ok") || strings.Contains(said, "BUG:") || strings.Contains(said, "WARNING:") || strings.Contains(said, "panic") {
				t.Errorf("%v\n%s", err, said)
			}
		})
	}
}
