package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/vzctl/vzctl/sdk/conformance"
	"github.com/vzctl/vzctl/sdk/plugintest"
)

func TestConformance(t *testing.T) {
	program, err := plugintest.Build(t.TempDir(), "github.com/vzctl/vzctl/plugins/kernel-local")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	content := make([]byte, 0x100)
	copy(content[0x38:], "ARM\x64") // all that a kernel is known by
	description := fmt.Sprintf(`{"name": "test", "version": "6.1", "arch": "arm64", "format": "raw", "path": "Image", "sha256": %q}`,
		digest.FromBytes(content).Encoded())
	for name, text := range map[string]string{"Image": string(content), "kernel.json": description} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	conformance.Test(t, conformance.Target{Path: program, Env: []string{"VZCTL_KERNEL_DIR=" + dir}},
		conformance.Fixture{Kernel: &conformance.KernelFixture{Arch: "arm64"}})
}
