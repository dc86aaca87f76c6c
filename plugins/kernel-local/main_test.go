package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/kernel"
	"github.com/vzctl/vzctl/sdk/launch"
	"github.com/vzctl/vzctl/sdk/plugintest"
)

func TestTheProgramServesKernels(t *testing.T) {
	program, err := plugintest.Build(t.TempDir(), "github.com/vzctl/vzctl/plugins/kernel-local")
	if err != nil {
		t.Fatal(err)
	}
	process, err := launch.Start(t.Context(), launch.Options{Path: program, Kind: sdk.KernelProvider, RuntimeDir: plugintest.RuntimeDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := process.Close(context.Background()); err != nil { // the test's context has ended by now
			t.Error(err)
		}
	})
	client := kernel.NewClient(process.Conn(), process.Info())

	image := make([]byte, 0x100)
	copy(image[0x38:], "ARM\x64")
	path := filepath.Join(t.TempDir(), "Image")
	if err := os.WriteFile(path, append(image, "Linux version 6.1.2 "...), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := client.Ensure(t.Context(), kernel.EnsureRequest{Arch: "arm64", Reference: path}, nil)
	if err != nil || found.Path != path || found.Format != kernel.FormatRaw || found.Version != "6.1.2" {
		t.Errorf("%+v, %v", found, err)
	}
	_, err = client.Ensure(t.Context(), kernel.EnsureRequest{Arch: "amd64", Reference: path}, nil)
	if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "kernel for arm64") {
		t.Errorf("%v", err)
	}
	if _, err := client.Ensure(t.Context(), kernel.EnsureRequest{Arch: "amd64", Reference: "nope"}, nil); !errors.Is(err, fault.NotFound) {
		t.Errorf("%v", err)
	}
}
