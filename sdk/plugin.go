package sdk

import (
	"context"
	"runtime"

	"google.golang.org/grpc"

	pluginv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/plugin/v1"
)

// ProtocolVersion is the newest version of every kind's protocol that this package speaks.
const ProtocolVersion uint32 = 1

// Plugin is one kind's service, ready to be served. Made by the Plugin function of the kind's package: hypervisor.Plugin, network.Plugin, ...
type Plugin struct {
	info     Info
	impl     any
	register func(grpc.ServiceRegistrar)
}

// NewPlugin is called by the kinds' packages. It sets the kind in info, and protocol versions and platforms (where this program runs) unless the author did.
// Impl is what the author made; if it has a method Shutdown(context.Context) error, or is an io.Closer, that is called before the process ends.
func NewPlugin(kind Kind, info Info, impl any, register func(grpc.ServiceRegistrar)) Plugin {
	info.Kind = kind
	if len(info.ProtocolVersions) == 0 {
		info.ProtocolVersions = []uint32{ProtocolVersion}
	}
	if len(info.Platforms) == 0 {
		info.Platforms = []string{runtime.GOOS + "/" + runtime.GOARCH}
	}
	return Plugin{info: info, impl: impl, register: register}
}

// Info returns what the plugin says of itself.
func (p Plugin) Info() Info { return p.info }

// Register adds the plugin's services to a server: its kind's, and the one that answers Info. [Serve] does it; tests may.
func (p Plugin) Register(server grpc.ServiceRegistrar) {
	pluginv1.RegisterPluginServer(server, infoServer{info: p.info})
	p.register(server)
}

type infoServer struct {
	pluginv1.UnimplementedPluginServer
	info Info
}

func (s infoServer) Info(context.Context, *pluginv1.InfoRequest) (*pluginv1.InfoResponse, error) {
	return InfoToProto(s.info), nil
}
