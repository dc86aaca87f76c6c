package sandbox

import (
	"context"
	"errors"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

// Update changes limits of the container: linux.resources of an OCI runtime spec, as JSON, of which only what is set changes, and those of the disks that are named. After an error they
// are as they were.
func (s *Sandbox) Update(ctx context.Context, resources []byte, disks ...IOLimit) error {
	done, err := s.saving.exclude()
	if err != nil {
		return err
	}
	defer done()
	ofDisks, err := s.guestIOLimits(disks)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, guestAnswer, errors.New("the guest does not answer"))
	defer cancel()
	_, err = s.guest.UpdateContainer(ctx, &guestv1.UpdateContainerRequest{ContainerId: s.spec.ContainerID, OciResources: resources, IoLimits: ofDisks})
	if errors.Is(err, fault.Unsupported) {
		return &fault.Error{Reason: fault.Unsupported, Op: "update container", Cause: errors.New("its VM was started with an older init image, which cannot change limits"),
			Hint: "stop it first"}
	}
	return explained(ctx, err)
}

// Keep has the files of a sandbox that is to be discarded be written out at its end.
func (s *Sandbox) Keep() { s.kept.Store(true) }
