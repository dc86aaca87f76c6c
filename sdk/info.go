// Package sdk is what a plugin is made with: implement the interface of one kind (packages hypervisor, imagesource, rootfs, network,
// kernel, translator) and give it to [Serve].
package sdk

// Kind is what a plugin does.
type Kind string

// The kinds.
const (
	Hypervisor     Kind = "hypervisor"
	ImageSource    Kind = "image-source"
	RootfsBuilder  Kind = "rootfs-builder"
	Network        Kind = "network"
	KernelProvider Kind = "kernel-provider"
	Translator     Kind = "translator"
)

// Kinds lists all kinds in the order people are shown them.
func Kinds() []Kind {
	return []Kind{Hypervisor, ImageSource, RootfsBuilder, Network, KernelProvider, Translator}
}

// Info is what a plugin says of itself. See vzctl.plugin.v1.InfoResponse.
type Info struct {
	Name             string              `json:"name"`
	Version          string              `json:"version"`
	Kind             Kind                `json:"kind"`
	ProtocolVersions []uint32            `json:"protocolVersions"`
	Platforms        []string            `json:"platforms"`
	Description      string              `json:"description,omitempty"`
	Capabilities     map[string][]string `json:"capabilities,omitempty"`
}

// Keys of Info.Capabilities that plugins of every kind may use to speak of the host they are on.
const (
	// CapabilityProblem has a line for each thing the plugin misses on this host, CapabilityFix at the same index the command that mends it.
	CapabilityProblem = "problem"
	CapabilityFix     = "fix"
	// CapabilityNote has what people should know: why an accelerator is not used, say.
	CapabilityNote = "note"
)

// Offers reports whether the capability key has the value.
func (i Info) Offers(key, value string) bool {
	for _, v := range i.Capabilities[key] {
		if v == value {
			return true
		}
	}
	return false
}
