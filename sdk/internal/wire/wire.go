// Package wire is what both ends of a plugin process must agree on before the first call: cookie, wire versions, names in the environment.
// The host's end is in sdk/launch, the plugin's in package sdk.
package wire

import (
	"context"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// Version of the wire: how a process is started, watched and ended. What is said over it has versions of its own, see
// vzctl.plugin.v1.InfoResponse.
const Version = 1

// Name under which go-plugin keeps the one thing that is served.
const Name = "vzctl"

// Names in the environment of a plugin.
const (
	CookieKey   = "VZCTL_PLUGIN_COOKIE"
	CookieValue = "b9a4b32e-one-vm-per-container"
	// LifelineFD holds the number of an inherited descriptor: the read end of a pipe. End of file means that the host is gone or wants
	// the plugin gone.
	LifelineFD = "VZCTL_LIFELINE_FD"
	// LogLevel is the least level of log lines that the host wants, as hclog names it.
	LogLevel = "VZCTL_LOG_LEVEL"
)

// Handshake tells a plugin started by a host from one started by hand. It is no secret.
func Handshake() goplugin.HandshakeConfig {
	return goplugin.HandshakeConfig{MagicCookieKey: CookieKey, MagicCookieValue: CookieValue}
}

// Plugins says which plugin set goes with which wire version. Register is nil on the host's side.
func Plugins(register func(grpc.ServiceRegistrar)) map[int]goplugin.PluginSet {
	return map[int]goplugin.PluginSet{Version: {Name: &adapter{register: register}}}
}

// adapter lets go-plugin serve services and dispense a connection; all else of it is not used.
type adapter struct {
	goplugin.NetRPCUnsupportedPlugin
	register func(grpc.ServiceRegistrar)
}

func (a *adapter) GRPCServer(_ *goplugin.GRPCBroker, server *grpc.Server) error {
	a.register(server)
	return nil
}

func (a *adapter) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return conn, nil
}
