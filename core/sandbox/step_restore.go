package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vzctl/vzctl/core/steps"
	"github.com/vzctl/vzctl/sdk/fault"
)

// restoreTimeout bounds reading back a VM's memory, of any size.
const restoreTimeout = 10 * time.Minute

const restoreStepName = "restore vm"

// restoreSteps is a start that goes on from a run that was saved.
func (s *Sandbox) restoreSteps() []steps.Step {
	s.nextProc = int(time.Now().Unix()) // the guest may know processes by the numbers of before
	return slices.Concat([]steps.Step{
		s.hypervisorStep(),
		s.networkStep(),
		s.restoreVMStep("hypervisor", "network"),
	}, s.socketsStep(restoreStepName), []steps.Step{ // what it was restored from is not used up for nothing
		s.releaseStep(append(s.socketsReady(), restoreStepName)...),
		s.resumeVMStep("release"),
		s.agentStep("start vm"),
		answered(s.adoptStep(agentStepName)),
		answered(s.streamsStep(adoptStepName)),
		answered(steps.Step{Name: processStepName, Needs: []string{"streams"}, Do: s.thaw}),
	}, s.serveSocketsStep(adoptStepName))
}

// restoreVMStep brings back the VM, which stands still.
func (s *Sandbox) restoreVMStep(needs ...string) steps.Step {
	step := s.createVMStep(needs...)
	step.Name = restoreStepName
	step.Do = func(ctx context.Context) error {
		if err := s.sameAddresses(); err != nil {
			return err
		}
		machine, err := s.saver()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeoutCause(ctx, restoreTimeout, errors.New("the VM's memory is not read back in time"))
		defer cancel()
		s.vm, err = machine.Restore(ctx, "restore "+s.spec.ID, s.spec.Restore.Directory, s.vmSpec())
		if errors.Is(err, fault.FailedPrecondition) {
			return fmt.Errorf("%w; what was saved stays, until vzctl checkpoint --remove", err)
		}
		return explained(ctx, err)
	}
	return step
}

// resumeVMStep lets the VM go on. From here on its disks are not as they were.
func (s *Sandbox) resumeVMStep(needs ...string) steps.Step {
	step := s.startVMStep(needs...)
	step.Do = func(ctx context.Context) error {
		if err := s.env.Consume(ctx); err != nil {
			return err
		}
		machine, err := s.saver()
		if err != nil {
			return err
		}
		return machine.Resume(ctx, s.spec.VirtualMachineID)
	}
	return step
}

// sameAddresses refuses a place on the network that is not the one the processes go on using.
func (s *Sandbox) sameAddresses() error {
	want := s.spec.Restore
	var addresses []netip.Prefix
	mac := ""
	if s.lease != nil {
		e := s.lease.Endpoint()
		addresses, mac = e.Addresses, e.MAC
	}
	if slices.Equal(addresses, want.Addresses) && mac == want.MAC {
		return nil
	}
	return &fault.Error{Reason: fault.FailedPrecondition, Op: "restore container",
		Cause: fmt.Errorf("its network does not give it the addresses that it had, %v (%s), but %v (%s)", want.Addresses, want.MAC, addresses, mac),
		Hint:  "stop whoever has them now"}
}
