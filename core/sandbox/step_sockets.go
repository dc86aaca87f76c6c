package sandbox

import (
	"context"
	"errors"

	"github.com/vzctl/vzctl/core/sockets"
	"github.com/vzctl/vzctl/core/steps"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hostpath"
)

const socketsStepName = "sockets"

// featureSockets is the guest's ability to join sockets to the host's. A guest without it would leave them out and say nothing.
const featureSockets = "sockets"

// socketsStep makes the sockets of the host, if there are any. Where the VM's own is must be known.
func (s *Sandbox) socketsStep(needs ...string) []steps.Step {
	if len(s.spec.Sockets) == 0 {
		return nil
	}
	return []steps.Step{{Name: socketsStepName, Needs: needs,
		Do: func(context.Context) (err error) {
			if err := hostpath.Within(s.spec.RuntimeDir, s.vm.VsockPath); err != nil {
				return err
			}
			all := make([]sockets.Socket, len(s.spec.Sockets))
			for i, socket := range s.spec.Sockets {
				all[i] = socket.Socket
			}
			s.relay, err = sockets.Open(s.spec.ContainerID, all, s.vm.VsockPath, s.env.Logger)
			return err
		},
		Undo: func(context.Context) error { return s.relay.Close() },
	}}
}

// serveSocketsStep lets connections to published sockets through.
func (s *Sandbox) serveSocketsStep(needs ...string) []steps.Step {
	if len(s.spec.Sockets) == 0 {
		return nil
	}
	return []steps.Step{{Name: "serve sockets", Needs: append(s.socketsReady(), needs...), Do: func(context.Context) error {
		s.relay.Serve(s.guest)
		return nil
	}}}
}

// socketsReady is what a step that lets processes use the sockets must wait for.
func (s *Sandbox) socketsReady() []string {
	if len(s.spec.Sockets) == 0 {
		return nil
	}
	return []string{socketsStepName}
}

// guestSockets is what the guest is told of the sockets.
func (s *Sandbox) guestSockets() (all []*guestv1.Socket, err error) {
	if len(s.spec.Sockets) > 0 && !s.guest.Offers(featureSockets) {
		return nil, &fault.Error{Reason: fault.Unsupported, Op: "join sockets", Cause: errors.New("the VM's init image is older than this vzctl"), Hint: "install those of one release"}
	}
	for _, socket := range s.spec.Sockets {
		all = append(all, guestSocket(socket))
	}
	return all, nil
}

func guestSocket(s Socket) *guestv1.Socket {
	return &guestv1.Socket{Id: s.ID, Path: s.Path, Listen: !s.Publish, Mode: s.ContainerMode, Uid: s.ContainerUID, Gid: s.ContainerGID}
}
