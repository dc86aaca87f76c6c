package conformance

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	pluginv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/plugin/v1"
)

func commonCases() []Case {
	return []Case{
		{Name: "info names the plugin, its version, kind and platforms", Run: infoIsComplete},
		{Name: "info is the same each time, for many callers at once", Run: infoIsStable},
		{Name: "a call that does not exist is unsupported", Run: unknownCalls},
		{Name: "the plugin ends when its lifeline does, as when its host was killed", Run: lifeline},
		{Name: "the plugin ends on SIGTERM", Run: terminate},
	}
}

func infoIsComplete(_ context.Context, env *Env) error {
	info := env.Process.Info()
	if info.Version == "" {
		return errors.New("it has no version")
	}
	if here := runtime.GOOS + "/" + runtime.GOARCH; !slices.Contains(info.Platforms, here) {
		return fmt.Errorf("it runs here, and its platforms %q do not contain %q", info.Platforms, here)
	}
	if strings.ContainsAny(info.Description, "\n\r") {
		return errors.New("its description has more than one line")
	}
	for key, values := range info.Capabilities {
		if len(values) == 0 {
			return fmt.Errorf("capability %q has no value: leave it out", key)
		}
	}
	return nil
}

func infoIsStable(ctx context.Context, env *Env) error {
	client := pluginv1.NewPluginClient(env.Process.Conn())
	group, ctx := errgroup.WithContext(ctx)
	for range 16 {
		group.Go(func() error {
			r, err := client.Info(ctx, &pluginv1.InfoRequest{})
			if err != nil {
				return err
			}
			if got, err := sdk.InfoFromProto(r); err != nil || !reflect.DeepEqual(got, env.Process.Info()) {
				return wrong(err, "info changed: %+v", got)
			}
			return nil
		})
	}
	return group.Wait()
}

func unknownCalls(ctx context.Context, env *Env) error {
	err := env.Process.Conn().Invoke(ctx, "/vzctl.plugin.v1.Plugin/Dance", &pluginv1.InfoRequest{}, &pluginv1.InfoResponse{})
	return wantReason("a call that does not exist", err, fault.Unsupported)
}

func lifeline(ctx context.Context, env *Env) error {
	env.Process.CutLifeline()
	return ends(ctx, env, "after its lifeline ended")
}

func terminate(ctx context.Context, env *Env) error {
	if err := syscall.Kill(env.Process.PID(), syscall.SIGTERM); err != nil {
		return err
	}
	return ends(ctx, env, "after SIGTERM")
}

func ends(ctx context.Context, env *Env, when string) error {
	limit := time.NewTimer(sdk.ShutdownTimeout + 2*time.Second)
	defer limit.Stop()
	select {
	case <-env.Process.Done():
		return nil
	case <-limit.C:
		return fmt.Errorf("it still runs %s %s", sdk.ShutdownTimeout+2*time.Second, when)
	case <-ctx.Done():
		return ctx.Err()
	}
}
