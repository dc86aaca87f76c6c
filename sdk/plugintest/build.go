package plugintest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// ScriptedPackage is the import path of the plugin that misbehaves on demand, ForeignPackage that of the one that is not made with package sdk.
const (
	ScriptedPackage = "github.com/vzctl/vzctl/sdk/plugintest/scripted"
	ForeignPackage  = "github.com/vzctl/vzctl/sdk/plugintest/foreign"
)

// Build compiles the program of a package into dir and returns its path. For TestMain, which has no testing.TB.
func Build(dir, importPath string) (string, error) {
	out := filepath.Join(dir, filepath.Base(importPath))
	if text, err := exec.Command("go", "build", "-o", out, importPath).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", importPath, err, text)
	}
	return out, nil
}

// RuntimeDir returns a short directory of mode 0700 that is removed with the test; testing's own are too long for sockets.
func RuntimeDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "vz")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
