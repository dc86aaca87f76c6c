package sdk

import (
	"os"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/sdk/internal/wire"
)

// NewLogger returns a logger whose lines reach the host with level and values kept. Make it in main, before [Serve], and hand it on. Lines below
// the level the host wants are not written. Run by hand, a plugin logs for people.
func NewLogger(name string) hclog.Logger {
	_, hosted := os.LookupEnv(wire.CookieKey)
	level := hclog.LevelFromString(os.Getenv(wire.LogLevel))
	if level == hclog.NoLevel {
		level = hclog.Info
	}
	return hclog.New(&hclog.LoggerOptions{Name: name, Level: level, Output: os.Stderr, JSONFormat: hosted})
}
