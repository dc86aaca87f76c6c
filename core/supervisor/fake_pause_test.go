package supervisor

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"

	"google.golang.org/grpc"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/progress"
)

func (p fakePlugin) Pause(context.Context, string) error { return nil }

func (p fakePlugin) Resume(context.Context, string) error {
	if err := p.failure("resume"); err != nil {
		return err
	}
	return p.set("running vm", true)
}

func (p fakePlugin) Snapshot(ctx context.Context, _, _, dir string, _ progress.Func) (uint64, error) {
	if err := os.WriteFile(filepath.Join(dir, "state"), []byte("state"), 0o600); err != nil {
		return 0, err
	}
	if p.onSave != nil {
		if err := p.onSave(ctx); err != nil {
			return 0, err
		}
	}
	return 5, p.failure("snapshot")
}

func (p fakePlugin) Restore(_ context.Context, _, dir string, s hypervisor.Spec) (hypervisor.VM, error) {
	if _, err := os.Stat(filepath.Join(dir, "state")); err != nil {
		return hypervisor.VM{}, err
	}
	if err := p.failure("restore"); err != nil {
		return hypervisor.VM{}, err
	}
	return hypervisor.VM{ID: s.ID, VsockPath: p.vsock, State: hypervisor.Paused}, p.set("vm", true)
}

// Freeze gives the streams back, as the guest does.
func (g fakeGuest) Freeze(context.Context, *guestv1.FreezeRequest, ...grpc.CallOption) (*guestv1.FreezeResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	err := g.fail["freeze"]
	if errors.Is(err, fault.FailedPrecondition) {
		return nil, err
	}
	for _, conn := range g.streams {
		_ = conn.(*net.UnixConn).CloseWrite()
	}
	g.frozen = err == nil
	return &guestv1.FreezeResponse{}, err
}

func (g fakeGuest) Thaw(context.Context, *guestv1.ThawRequest, ...grpc.CallOption) (*guestv1.ThawResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.frozen = false
	return &guestv1.ThawResponse{}, g.fail["thaw"]
}
