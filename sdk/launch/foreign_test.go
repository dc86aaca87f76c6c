package launch_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/kernel"
	"github.com/vzctl/vzctl/sdk/launch"
	"github.com/vzctl/vzctl/sdk/plugintest"
	"github.com/vzctl/vzctl/sdk/rpc"
)

// TestAPluginMadeWithGoPluginWorks: its standard streams are its library's, whose writers wait until somebody takes what they have written.
func TestAPluginMadeWithGoPluginWorks(t *testing.T) {
	path, err := plugintest.Build(t.TempDir(), plugintest.ForeignPackage)
	if err != nil {
		t.Fatal(err)
	}
	p, provider := start(t, launch.Options{Path: path, Kind: sdk.KernelProvider, RuntimeDir: plugintest.RuntimeDir(t)})
	if list, err := provider.List(t.Context(), "1000000", ""); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := provider.Ensure(t.Context(), kernel.EnsureRequest{}, nil); !errors.Is(err, rpc.ErrGone) || !strings.Contains(err.Error(), "panic: far from home") {
		t.Errorf("its end is %v", err)
	}
	<-p.Done()
}
