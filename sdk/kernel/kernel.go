// Package kernel is the contract of the kernel provider kind. The comments in sdk/proto/vzctl/kernel/v1/kernel.proto are part of it.
package kernel

import (
	"context"

	"github.com/vzctl/vzctl/sdk/progress"
)

// Provider is implemented by a plugin and by its client.
type Provider interface {
	List(ctx context.Context, arch, cacheDir string) ([]Kernel, error)
	Ensure(ctx context.Context, request EnsureRequest, report progress.Func) (Kernel, error)
}

// Keys and values of Info.Capabilities of this kind.
const (
	CapabilityArch    = "arch"
	CapabilityFlavour = "flavour"
	CapabilityFetch   = "fetch" // value "yes": Ensure may reach out to the world
)

// Formats of kernels.
const (
	FormatPVH     = "elf-pvh"
	FormatRaw     = "raw"
	FormatBzImage = "bzimage"
)

// Kernel is a guest kernel on this machine.
type Kernel struct {
	Name        string `json:"name"`
	Path        string `json:"path"`
	Format      string `json:"format"`
	Version     string `json:"version"`
	Arch        string `json:"arch"`
	CommandLine string `json:"commandLine,omitempty"`
	SHA256      string `json:"sha256,omitempty"`
	// DependsOn is only in answers of Ensure: while nothing at these absolute paths, at Path and in the plugin's file changes, the answer stays
	// good. Empty: nobody can tell.
	DependsOn []string `json:"dependsOn,omitempty"`
}

// EnsureRequest asks for one kernel; empty values leave the choice to the provider.
type EnsureRequest struct {
	Arch      string
	Flavour   string
	Reference string // a name from List, or a path
	CacheDir  string
}
