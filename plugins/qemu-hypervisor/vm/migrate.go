package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/machine"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/qmp"
)

// QEMU calls the reading and writing of a VM's state a migration. These are how one ends.
const (
	migrationCompleted = "completed"
	migrationFailed    = "failed"
	migrationCancelled = "cancelled"
)

// stateName is what QEMU's commands call the descriptor of a state.
const stateName = "state"

// extent of a state.
type extent int

const (
	devices extent = iota // memory that is mapped from a file is left out
	whole
)

// unlimited is a rate, in bytes per second: by default QEMU spares the network that a migration usually goes over.
const unlimited = 1 << 40

// capability of a migration.
type capability struct {
	Capability string `json:"capability"`
	State      bool   `json:"state"`
}

// writeState has QEMU write its state to a file.
func (p *process) writeState(ctx context.Context, state *os.File, what extent) error {
	capabilities := map[string]any{"capabilities": []capability{{"x-ignore-shared", what == devices}, {"events", true}}}
	if err := p.monitor.Execute(ctx, "migrate-set-capabilities", capabilities, nil); err != nil {
		return err
	}
	if what == whole {
		if err := p.monitor.Execute(ctx, "migrate-set-parameters", map[string]int64{"max-bandwidth": unlimited}, nil); err != nil {
			return err
		}
	}
	return p.migrate(ctx, "migrate", state)
}

// readState has a QEMU that waits for it read a state. Events are on from its start: QEMU reads what it is told byte by byte, so that each word costs time.
func (p *process) readState(ctx context.Context, state *os.File, what extent) error {
	if what == devices {
		capabilities := map[string]any{"capabilities": []capability{{"x-ignore-shared", true}}}
		if err := p.monitor.Execute(ctx, "migrate-set-capabilities", capabilities, nil); err != nil {
			return err
		}
	}
	return p.migrate(ctx, "migrate-incoming", state)
}

// migrate moves a state out or in, and returns when that is done.
func (p *process) migrate(ctx context.Context, command string, state *os.File) error {
	select {
	case <-p.migrated: // of an earlier one
	default:
	}
	if err := p.monitor.GiveFile(ctx, stateName, state); err != nil {
		return err
	}
	if err := p.monitor.Execute(ctx, command, map[string]string{"uri": "fd:" + stateName}, nil); err != nil {
		return err
	}
	select {
	case how := <-p.migrated:
		if how != migrationCompleted {
			return fmt.Errorf("QEMU command %s: %s", command, how)
		}
		return nil
	case <-p.exited:
		return fmt.Errorf("QEMU command %s: %w", command, qmp.ErrClosed)
	case <-ctx.Done():
		return fmt.Errorf("QEMU command %s: %w", command, ctx.Err())
	}
}

// portChange reads an event about a serial port: whether the guest has opened that of the multiplexer, or closed it.
func portChange(event qmp.Event) (opened, known bool) {
	var data struct {
		ID   string `json:"id"`
		Open bool   `json:"open"`
	}
	known = json.Unmarshal(event.Data, &data) == nil && data.ID == machine.MuxID
	return data.Open, known
}

func migrationStatus(event qmp.Event) string {
	var data struct {
		Status string `json:"status"`
	}
	if err := json.Unmarshal(event.Data, &data); err != nil {
		return migrationFailed
	}
	return strings.ToLower(data.Status)
}
