package vm

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/qmp"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// ending is what is known when QEMU has ended.
type ending struct {
	requested bool     // by Stop or Delete
	shutdown  string   // reason of QEMU's SHUTDOWN event; "" if there was none
	lost      string   // what QEMU was killed for, as it cannot be without it
	how       string   // it ended; "" if nobody knows
	stderr    []string // last lines of QEMU
	console   []string // last lines of the guest
}

// panicMark begins the kernel's line.
const panicMark = "Kernel panic - not syncing"

// classify says why a VM ended. The guest's own doing comes before ours, and ours before an accident.
func classify(e ending, now time.Time) hypervisor.Exit {
	exit := hypervisor.Exit{Time: now}
	switch {
	case e.shutdown == "guest-panic" || strings.HasPrefix(e.shutdown, "guest-") && panicked(e.console) != "":
		exit.Reason, exit.Message = hypervisor.GuestPanic, "the guest's kernel gave up: "+panicked(e.console)
	case strings.HasPrefix(e.shutdown, "guest-"):
		exit.Reason, exit.Message = hypervisor.GuestShutdown, "the guest powered off"
	case e.requested:
		exit.Reason, exit.Message = hypervisor.ByRequest, "the VM was stopped"
	case e.lost != "":
		exit.Reason, exit.Message = hypervisor.Crashed, e.lost
	default:
		exit.Reason, exit.Message = hypervisor.Crashed, "QEMU ended unexpectedly"
		if e.how != "" {
			exit.Message += ": " + e.how
		}
		if len(e.stderr) > 0 {
			exit.Message += "; it said: " + strings.Join(e.stderr, " / ")
		}
	}
	return exit
}

// panicked returns the kernel's last words from the line of its panic on, or "".
func panicked(lines []string) string {
	for i, line := range lines {
		if at := strings.Index(line, panicMark); at >= 0 {
			words := []string{line[at:]}
			return strings.Join(append(words, lines[i+1:min(len(lines), i+4)]...), " / ")
		}
	}
	return ""
}

// shutdownReason returns the reason of a SHUTDOWN event: "guest-reset", "guest-shutdown", "host-signal", ...
func shutdownReason(event qmp.Event) string {
	var data struct {
		Reason string `json:"reason"`
	}
	if err := json.Unmarshal(event.Data, &data); err != nil {
		return fmt.Sprintf("unknown (%v)", err)
	}
	return data.Reason
}
