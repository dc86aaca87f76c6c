// Command qemu-hypervisor is the hypervisor plugin that runs VMs with QEMU, as an ordinary user. Package vm has the hypervisor; read that first.
package main

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/accel"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/keeper"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/machine"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/virtiofsd"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/vm"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

var version = "dev" // set by the linker

const (
	name = "qemu-hypervisor"
	// probeArgument makes this program the child that finds out whether KVM is any good.
	probeArgument = "probe-kvm"
	lookDeadline  = 5 * time.Second
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == probeArgument {
		accel.Probe()
		return
	}
	if len(os.Args) > 1 && os.Args[1] == keeper.Argument {
		os.Exit(keeper.Run(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == vm.HoldArgument {
		os.Exit(vm.Hold())
	}
	host, tsc := look()
	sdk.Serve(hypervisor.Plugin(info(host), vm.New(host, tsc, sdk.NewLogger(name))))
}

func look() (accel.Host, uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), lookDeadline)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return accel.Look(ctx, runtime.GOOS, runtime.GOARCH, []string{self, probeArgument})
}

// info offers the guests whose QEMU is installed. If there is none it offers the host's own architecture all the same, so that the refusal of Create
// can say what to install.
func info(host accel.Host) sdk.Info {
	var arches []string
	for _, arch := range []string{runtime.GOARCH, otherArch()} {
		binary, _ := machine.Binary(arch)
		if installed(binary) || arch == runtime.GOARCH {
			arches = append(arches, arch)
		}
	}
	capabilities := machine.Capabilities(arches, accel.Available(host), virtiofsd.Offered(runtime.GOOS, os.Geteuid() == 0))
	if choice, err := accel.Choose(host, "auto", runtime.GOARCH); err == nil {
		capabilities[sdk.CapabilityNote] = []string{choice.Note}
	}
	if binary, install := machine.Binary(runtime.GOARCH); !installed(binary) {
		capabilities[sdk.CapabilityProblem] = []string{binary + " not found"}
		capabilities[sdk.CapabilityFix] = []string{install}
	}
	return sdk.Info{
		Name:         name,
		Version:      version,
		Description:  "virtual machines by QEMU, with KVM or emulated",
		Platforms:    []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64"},
		Capabilities: capabilities,
	}
}

func installed(binary string) bool {
	_, err := exec.LookPath(binary)
	return err == nil
}

func otherArch() string {
	if runtime.GOARCH == "amd64" {
		return "arm64"
	}
	return "amd64"
}
