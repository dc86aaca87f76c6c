package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

func TestArchiveIsWhatTheKernelAndCpioRead(t *testing.T) {
	content := []byte("seventeen bytes..")
	list := exec.Command("cpio", "-itv", "--quiet")
	list.Stdin = bytes.NewReader(archive([]string{"bin"}, program{"init", content}, program{"bin/true", nil}))
	out, err := list.CombinedOutput()
	if err != nil {
		t.Fatalf("cpio: %v: %s", err, out)
	}
	for _, want := range []string{"drwxr-xr-x", " dev\n", "crw-------", "5,   1", " dev/console\n", "-rwxr-xr-x", " 17 ", " init\n", " bin/true\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("cpio's listing lacks %q:\n%s", want, out)
		}
	}
}
