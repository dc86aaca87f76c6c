package docs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/vzctl/vzctl/sdk/conformance"
)

func TestThePluginOfTheReadmePassesItsSuite(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	program := programs.FindSubmatch(text)
	if program == nil {
		t.Fatal("no program")
	}
	dir := t.TempDir()
	kernel, source, plugin := filepath.Join(dir, "vmlinux"), filepath.Join(dir, "main.go"), filepath.Join(dir, "kernel-fixed")
	const there = "/srv/kernels/vmlinux"
	if !bytes.Contains(program[1], []byte(there)) {
		t.Fatalf("it names no %s", there)
	}
	if err := os.WriteFile(source, bytes.ReplaceAll(program[1], []byte(there), []byte(kernel)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kernel, []byte("a kernel"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", plugin, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	conformance.Test(t, conformance.Target{Path: plugin}, conformance.Fixture{Kernel: &conformance.KernelFixture{Arch: "amd64"}})
}
