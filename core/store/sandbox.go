package store

import (
	"time"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/sdk/kernel"
	"github.com/vzctl/vzctl/sdk/network"
)

// Sandbox is the record of a VM with its network endpoint and its supervisor: all that its supervisor needs to start it, resolved when it was
// created.
type Sandbox struct {
	Schema     int       `json:"schema"`
	ID         string    `json:"id"`
	Created    time.Time `json:"created"`
	Containers []string  `json:"containers"` // ids

	Arch              string            `json:"arch"` // as OCI writes it
	CPUs              uint32            `json:"cpus"`
	MemoryBytes       uint64            `json:"memoryBytes"`
	Kernel            kernel.Kernel     `json:"kernel"` // its file is leased
	InitrdPath        string            `json:"initrdPath,omitempty"`
	Hypervisor        string            `json:"hypervisor"` // plugin, resolved
	HypervisorOptions map[string]string `json:"hypervisorOptions,omitempty"`
	Nested            bool              `json:"nested,omitempty"` // its guest may run VMs

	Network       string `json:"network,omitempty"` // name; empty: none
	NetworkPlugin string `json:"networkPlugin,omitempty"`
	// Links are those that the hypervisor takes, so that the network need not wait for it; none: it is asked.
	Links    []string `json:"links,omitempty"`
	Hostname string   `json:"hostname,omitempty"`
	// Endpoint is asked for again at the next start, so that address and MAC stay.
	Endpoint *network.Endpoint `json:"endpoint,omitempty"`

	// RuntimeDir holds the sockets. It is recorded because a later session of the user may have another XDG_RUNTIME_DIR.
	RuntimeDir string `json:"runtimeDir,omitempty"`
}

// WriteLastWords is the last thing a dying supervisor does for a sandbox whose records it cannot bring in order. [Store.Get] shows it as how the
// container ended.
func (s *Store) WriteLastWords(sandbox string, exit Exit) error {
	return WriteJSON(s.paths.LastWords(sandbox), exit, false)
}

// Settle returns a record as it has to be read: if a supervisor should look after the container but none lives (alive), or the host was booted
// since, then the container has stopped, whatever the record says. last is what the supervisor said last, or nil. Nothing is written.
func Settle(c Container, alive bool, bootID string, last *Exit) Container {
	rebooted := c.BootID != "" && bootID != "" && c.BootID != bootID
	if alive && !rebooted {
		return c
	}
	next, err := lifecycle.Next(c.State, lifecycle.Lose)
	if err != nil {
		return c // nobody needs to look after it
	}
	interrupted := c.State
	c.State = next
	if last != nil && (c.Run == nil || !last.Time.Before(c.Run.Asked)) {
		exit := *last
		c.Exit = &exit
		return c
	}
	exit := Exit{Code: lostCode, Reason: lifecycle.ReasonLost}
	switch {
	case c.Checkpoint != nil && !c.Checkpoint.Layer && (c.Run == nil || !c.Run.Restore): // its supervisor was ending it
		exit.Reason, exit.Time, exit.Message = lifecycle.ReasonCheckpointed, c.Checkpoint.Made, CheckpointedMessage(c.Name)
	case rebooted:
		exit.Message = "the host was booted while it was " + string(interrupted)
	case interrupted == lifecycle.Creating:
		exit.Message = "its creation was interrupted; remove it and create it again"
	default:
		exit.Message = "its supervisor ended while it was " + string(interrupted)
	}
	c.Exit = &exit
	return c
}

// CheckpointedMessage tells people what to do with a container that ended with a checkpoint.
func CheckpointedMessage(name string) string {
	return "it was checkpointed; vzctl restore " + name + " lets it go on"
}

// lostCode is the exit code of a process whose end nobody saw: what a shell says of one killed by SIGKILL, which is what happened to it.
const lostCode = 137
