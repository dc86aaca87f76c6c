package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/vmtest"
	"github.com/vzctl/vzctl/sdk/conformance"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/plugintest"
)

// TestVMPluginPassesTheSuiteOfItsKind boots vminitd in VMs of the built plugin; among the cases are a plugin killed and a lifeline cut, after which no QEMU
// may be left.
func TestVMPluginPassesTheSuiteOfItsKind(t *testing.T) {
	kernel, words := vmtest.Kernel(t)
	dir := t.TempDir()
	plugin, err := plugintest.Build(dir, "github.com/vzctl/vzctl/plugins/qemu-hypervisor")
	if err != nil {
		t.Fatal(err)
	}
	conformance.Test(t, conformance.Target{Path: plugin}, conformance.Fixture{Hypervisor: &conformance.HypervisorFixture{
		Arch: "amd64", Kernel: hypervisor.Kernel{Path: kernel, Format: "elf-pvh", CommandLine: words}, InitrdPath: guestImage(t, dir),
	}})
}

// guestImage builds the init image of the product, as the Makefile does.
func guestImage(t *testing.T, dir string) string {
	t.Helper()
	init, image := filepath.Join(dir, "vminitd"), filepath.Join(dir, "initrd.cpio")
	for _, arguments := range [][]string{
		{"build", "-trimpath", "-ldflags=-s -w", "-o", init, "github.com/vzctl/vzctl/guest/vminitd"},
		{"run", "github.com/vzctl/vzctl/guest/initrd", "-o", image, init},
	} {
		command := exec.Command("go", arguments...)
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", arguments, err, output)
		}
	}
	return image
}
