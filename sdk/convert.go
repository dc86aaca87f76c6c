package sdk

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vzctl/vzctl/sdk/fault"
	pluginv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/plugin/v1"
)

var kindsOnTheWire = map[Kind]pluginv1.Kind{
	Hypervisor:     pluginv1.Kind_KIND_HYPERVISOR,
	ImageSource:    pluginv1.Kind_KIND_IMAGE_SOURCE,
	RootfsBuilder:  pluginv1.Kind_KIND_ROOTFS_BUILDER,
	Network:        pluginv1.Kind_KIND_NETWORK,
	KernelProvider: pluginv1.Kind_KIND_KERNEL_PROVIDER,
	Translator:     pluginv1.Kind_KIND_TRANSLATOR,
}

// isLabel reports whether a name is a DNS label.
func isLabel(name string) bool {
	return name != "" && len(name) <= 63 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && name[0] != '-' && name[len(name)-1] != '-'
}

// InfoToProto converts what a plugin says of itself.
func InfoToProto(i Info) *pluginv1.InfoResponse {
	r := &pluginv1.InfoResponse{
		Name: i.Name, Version: i.Version, Kind: kindsOnTheWire[i.Kind], ProtocolVersions: i.ProtocolVersions,
		Platforms: i.Platforms, Description: i.Description,
	}
	for key, values := range i.Capabilities {
		if r.Capabilities == nil {
			r.Capabilities = map[string]*pluginv1.StringList{}
		}
		r.Capabilities[key] = &pluginv1.StringList{Values: values}
	}
	return r
}

// InfoFromProto converts what a plugin says of itself; fault.Invalid if its name is no DNS label, or its kind is not one of [Kinds].
func InfoFromProto(r *pluginv1.InfoResponse) (Info, error) {
	i := Info{
		Name: r.GetName(), Version: r.GetVersion(), ProtocolVersions: r.GetProtocolVersions(),
		Platforms: r.GetPlatforms(), Description: r.GetDescription(),
	}
	for kind, wire := range kindsOnTheWire {
		if wire == r.GetKind() {
			i.Kind = kind
		}
	}
	for key, list := range r.GetCapabilities() {
		if i.Capabilities == nil {
			i.Capabilities = map[string][]string{}
		}
		i.Capabilities[key] = list.GetValues()
	}
	if !isLabel(i.Name) {
		return i, &fault.Error{Reason: fault.Invalid, Op: "read info", Cause: fmt.Errorf("a plugin calls itself %q, which is no DNS label", i.Name)}
	}
	if i.Kind == "" {
		return i, &fault.Error{Reason: fault.Invalid, Op: "read info", Subject: i.Name, Cause: errors.New("the plugin's kind is unknown here"), Hint: "it may be made for a newer vzctl"}
	}
	return i, nil
}
