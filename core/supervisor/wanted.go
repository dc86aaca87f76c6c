package supervisor

import (
	"time"

	"github.com/vzctl/vzctl/core/config"
)

// Wanted describes the supervisor that this process would make for a sandbox that is started at once.
type Wanted struct {
	Program      []string // the vzctl to run
	Hypervisor   string   // plugin, by its path
	Plugins      config.Plugins
	Verbose      bool
	Surroundings []string      // of this process
	Keep         time.Duration // for how long the next one waits; 0: there is none
}
