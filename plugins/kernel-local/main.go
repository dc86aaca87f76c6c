// Command kernel-local is the kernel provider plugin that serves what is on this machine: kernels of `make kernel`, or a file the user names.
package main

import (
	"fmt"
	"os"

	"github.com/vzctl/vzctl/plugins/kernel-local/provider"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/kernel"
)

var version = "dev" // set by the linker

func main() {
	executable, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kernel-local:", err)
		os.Exit(1)
	}
	sdk.Serve(kernel.Plugin(sdk.Info{
		Name:        "kernel-local",
		Version:     version,
		Description: "kernels built by make kernel, or a file",
		Platforms:   []string{"linux/amd64", "linux/arm64", "darwin/arm64"},
		Capabilities: map[string][]string{
			kernel.CapabilityArch:    {"amd64", "arm64"},
			kernel.CapabilityFlavour: {provider.Flavour},
		},
	}, &provider.Provider{Dirs: provider.SearchPath(os.Getenv("VZCTL_KERNEL_DIR"), executable)}))
}
