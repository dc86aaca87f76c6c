// Command foreign is a plugin that is made with HashiCorp's go-plugin and not with package sdk, as somebody else's may be: a kernel provider that writes as much to its standard streams
// as a call's argument says.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/kernel"
	"github.com/vzctl/vzctl/sdk/progress"
)

func main() {
	info := sdk.Info{Name: "foreign", Version: "1", Capabilities: map[string][]string{kernel.CapabilityArch: {"amd64"}}}
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig:  goplugin.HandshakeConfig{MagicCookieKey: "VZCTL_PLUGIN_COOKIE", MagicCookieValue: "b9a4b32e-one-vm-per-container"},
		VersionedPlugins: map[int]goplugin.PluginSet{1: {"vzctl": served{plugin: kernel.Plugin(info, provider{})}}},
		GRPCServer:       goplugin.DefaultGRPCServer,
	})
}

type served struct {
	goplugin.NetRPCUnsupportedPlugin
	plugin sdk.Plugin
}

// GRPCServer implements goplugin.GRPCPlugin.
func (s served) GRPCServer(_ *goplugin.GRPCBroker, server *grpc.Server) error {
	s.plugin.Register(server)
	return nil
}

// GRPCClient implements goplugin.GRPCPlugin.
func (served) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, fmt.Errorf("a plugin is no host")
}

type provider struct{}

// List implements kernel.Provider.
func (provider) List(_ context.Context, bytes, _ string) ([]kernel.Kernel, error) {
	n, err := strconv.Atoi(bytes)
	if err != nil {
		return nil, err
	}
	for range n / 64 {
		fmt.Println(strings.Repeat("o", 63))
		fmt.Fprintln(os.Stderr, strings.Repeat("e", 63))
	}
	return []kernel.Kernel{{Name: "k", Path: "/boot/vmlinux", Format: kernel.FormatRaw, Arch: "amd64"}}, nil
}

// Ensure implements kernel.Provider. It does not end well.
func (provider) Ensure(context.Context, kernel.EnsureRequest, progress.Func) (kernel.Kernel, error) {
	panic("far from home")
}
