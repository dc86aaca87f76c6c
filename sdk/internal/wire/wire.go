// Package wire is what both ends of a plugin process must agree on before the first call: names in the environment, and the line by which a plugin says where it listens.
// The host's end is in sdk/launch, the plugin's in package sdk.
//
// It is the handshake of HashiCorp's go-plugin, for which there are libraries in other languages. The package itself is not linked: it brings much that is not used here,
// and each start of a plugin would pay for that.
package wire

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/vzctl/vzctl/sdk/fault"
)

// Version of the wire: how a process is started, watched and ended. What is said over it has versions of its own, see
// vzctl.plugin.v1.InfoResponse.
const Version = 1

// Names in the environment of a plugin.
const (
	// CookieKey and CookieValue tell a plugin started by a host from one started by hand. They are no secret.
	CookieKey   = "VZCTL_PLUGIN_COOKIE"
	CookieValue = "b9a4b32e-one-vm-per-container"
	// SocketDir holds the directory for the plugin's socket: an absolute path.
	SocketDir = "PLUGIN_UNIX_SOCKET_DIR"
	// Versions holds the versions of the wire that the host speaks, with commas between.
	Versions = "PLUGIN_PROTOCOL_VERSIONS"
	// LifelineFD holds the number of an inherited descriptor: the read end of a pipe. End of file means that the host is gone or wants
	// the plugin gone.
	LifelineFD = "VZCTL_LIFELINE_FD"
	// LogLevel is the least level of log lines that the host wants, as hclog names it.
	LogLevel = "VZCTL_LOG_LEVEL"
)

// handshake is the version of the line itself.
const handshake = 1

// Environment is what a plugin needs beside what go-plugin has no word for. The ports are for plugins that cannot have a socket; their libraries may ask for them.
func Environment(socketDir string) []string {
	return []string{CookieKey + "=" + CookieValue, SocketDir + "=" + socketDir, Versions + "=" + strconv.Itoa(Version),
		"PLUGIN_MIN_PORT=10000", "PLUGIN_MAX_PORT=25000"}
}

// Line is the first that a plugin writes to its standard output, once it listens on a socket.
func Line(socket string) string {
	return fmt.Sprintf("%d|%d|unix|%s|grpc|\n", handshake, Version, socket)
}

// ErrNoHandshake is of a line that is something else.
var ErrNoHandshake = errors.New("that is no plugin's handshake")

// ParseLine returns where a plugin listens, by the first line it has written.
func ParseLine(line string) (network, address string, err error) {
	parts := strings.Split(strings.TrimSpace(line), "|")
	core, err := strconv.Atoi(parts[0])
	if err != nil || len(parts) < 4 {
		return "", "", ErrNoHandshake
	}
	spoken := "netrpc" // as go-plugin has it for plugins that say nothing
	if len(parts) > 4 {
		spoken = parts[4]
	}
	switch {
	case core != handshake:
		return "", "", &fault.Error{Reason: fault.Invalid, Cause: fmt.Errorf("the plugin's handshake is of version %d, and this program knows %d", core, handshake)}
	case parts[1] != strconv.Itoa(Version):
		return "", "", &fault.Error{
			Reason: fault.Invalid, Cause: fmt.Errorf("the plugin speaks version %.20s of the plugin wire, and this program speaks %d", parts[1], Version),
			Hint: "install matching versions of both",
		}
	case spoken != "grpc":
		return "", "", &fault.Error{Reason: fault.Invalid, Cause: fmt.Errorf("the plugin speaks %.20q, and only grpc is spoken here", spoken)}
	}
	return parts[2], parts[3], nil
}
