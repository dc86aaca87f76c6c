package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vzctl/vzctl/core/agent"
	"github.com/vzctl/vzctl/core/store"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/machine"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// residentMost is what the guest's own program may have in memory, in bytes.
const residentMost = 20 << 20

// resident weighs the guest's own program, by its own word, once its machine has been used.
func resident() row {
	return row{
		name: "resident", what: "memory of vminitd in its machine (VmRSS), after 20 times `vzctl exec` and 64 MiB of output", reference: "20 MiB",
		unit: bytes, target: target{ratio: 1},
		measure: func(ctx context.Context, s *stage) (m measured, err error) {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			for range min(s.count, 3) {
				fresh, used, err := s.residentOne(ctx)
				if err != nil {
					return m, err
				}
				m.vzctl, m.reference = append(m.vzctl, used), append(m.reference, residentMost)
				m.notes = []string{fmt.Sprintf("before that %s MB in the last machine", bytes.format(fresh))}
			}
			return m, nil
		},
	}
}

// residentOne uses a machine, and says what its vminitd has before and after that.
func (s *stage) residentOne(ctx context.Context) (fresh, used float64, err error) {
	id, remove, err := s.detached(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if fresh, err = s.residentNow(ctx, id); err != nil {
		return 0, 0, err
	}
	for range 20 {
		if err := quiet(s.vzctl(ctx, "exec", id, "/bin/true")); err != nil {
			return 0, 0, err
		}
	}
	if err := quiet(s.vzctl(ctx, "exec", id, "head", "-c", "64M", "/dev/zero")); err != nil {
		return 0, 0, err
	}
	used, err = s.residentNow(ctx, id)
	return fresh, used, err
}

// residentNow asks the guest's agent.
func (s *stage) residentNow(ctx context.Context, id string) (float64, error) {
	st, err := store.Open(s.root)
	if err != nil {
		return 0, err
	}
	c, err := st.Find(id)
	if err != nil {
		return 0, err
	}
	b, err := st.GetSandbox(c.Sandbox)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	socket := machine.VsockPath(hypervisor.Spec{RuntimeDir: b.RuntimeDir})
	guest, err := agent.Dial(ctx, socket, "bench")
	if err != nil {
		return 0, err
	}
	stats, err := guest.ContainerStats(ctx, &guestv1.ContainerStatsRequest{ContainerId: c.ID})
	if err == nil && stats.AgentResidentBytes == 0 {
		err = errors.New("the guest's agent does not say what it has in memory")
	}
	return float64(stats.GetAgentResidentBytes()), errors.Join(err, guest.Close())
}
