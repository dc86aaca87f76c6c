package sandbox

import (
	"context"
	"errors"

	"github.com/vzctl/vzctl/core/steps"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// Warm starts the VM of a sandbox and takes it down again, with its place on the network: what the hypervisor plugin keeps of it makes the next of its shape start
// faster. Nobody speaks to the guest, and nothing of a container is needed but disks of any content. It returns the VM as it ran.
func Warm(ctx context.Context, spec Spec, env Environment) (hypervisor.VM, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, guestBoot, errors.New("the VM did not start in time"))
	defer cancel()
	s := New(spec, env)
	done, err := steps.Run(ctx, []steps.Step{s.hypervisorStep(), s.networkStep(), s.createVMStep("hypervisor", "network"), s.startVMStep("create vm")})
	if err != nil {
		return hypervisor.VM{}, err
	}
	return s.vm, done.Undo(context.WithoutCancel(ctx))
}
