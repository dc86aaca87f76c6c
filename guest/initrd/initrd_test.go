package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestTheSameProgramGivesTheSameBytes(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "vminitd")
	if err := os.WriteFile(program, []byte("\x7fELF and more"), 0o600); err != nil {
		t.Fatal(err)
	}
	var images [2][]byte
	for i := range images {
		out := filepath.Join(dir, "out", "initrd.cpio")
		if err := run(out, []string{program}); err != nil {
			t.Fatal(err)
		}
		var err error
		if images[i], err = os.ReadFile(out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(images[0], images[1]) || len(images[0])%4 != 0 {
		t.Error("the images differ, or are not padded")
	}
	for _, name := range []string{"dev\x00", "dev/console\x00", "init\x00", "TRAILER!!!\x00"} {
		if !bytes.Contains(images[0], []byte(name)) {
			t.Errorf("%q is missing", name)
		}
	}
	if err := run(filepath.Join(dir, "x"), []string{filepath.Join(dir, "out")}); err == nil {
		t.Error("a directory is taken for a program")
	}
}
