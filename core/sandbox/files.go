package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vzctl/vzctl/core/steps"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

// maintenanceShutdown is how long the guest of a Maintenance may take to write out what was written to it. That may be as much as the host keeps in memory, and its disk
// be slow; there is nobody but who waits for just this.
const maintenanceShutdown = 5 * time.Minute

// OpenFiles connects to the guest's agent for one use of the container's files, see agent.UseFiles. The caller closes the connection.
func (s *Sandbox) OpenFiles(ctx context.Context) (net.Conn, error) {
	return s.guest.OpenStream(ctx, &guestv1.StreamRequest{ContainerId: s.spec.ContainerID, Kind: guestv1.StreamKind_STREAM_KIND_FILES})
}

// Maintenance is a VM that has the disks of a container, and no process of it.
type Maintenance struct {
	box  *Sandbox
	done *steps.Done
}

// Maintain boots a VM in which the container is created but does not run, and never will. It has no network. The caller ends it.
func Maintain(ctx context.Context, spec Spec, env Environment) (*Maintenance, error) {
	s := New(spec, env)
	s.shutdownPatience = maintenanceShutdown
	done, err := steps.Run(ctx, []steps.Step{
		s.hypervisorStep(),
		s.createVMStep("hypervisor"),
		s.startVMStep("create vm"),
		s.agentStep("start vm"),
		answered(s.containerStep(agentStepName)),
	})
	if err != nil {
		return nil, err
	}
	return &Maintenance{s, done}, nil
}

// OpenFiles is that of a Sandbox.
func (m *Maintenance) OpenFiles(ctx context.Context) (net.Conn, error) { return m.box.OpenFiles(ctx) }

// Close unmounts the disks and takes the VM down. Without an error all that was written is on them.
func (m *Maintenance) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), maintenanceShutdown+teardownTimeout)
	defer cancel()
	err := m.done.Undo(ctx)
	if !m.box.shutDown {
		cause := m.box.shutDownErr
		if cause == nil {
			cause = errors.New("it has ended before")
		}
		err = errors.Join(fmt.Errorf("the VM did not unmount the container's disks, and what was written may be lost: %w", cause), err)
	}
	return err
}
