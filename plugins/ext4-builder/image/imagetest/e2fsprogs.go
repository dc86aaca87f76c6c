package imagetest

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// E2fsprogs returns the path of a tool of e2fsprogs, which users other than
// root do not have in their PATH.
func E2fsprogs(tb testing.TB, name string) string {
	tb.Helper()
	for _, candidate := range []string{name, filepath.Join("/usr/sbin", name), filepath.Join("/sbin", name)} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	tb.Fatalf("%s is missing; install e2fsprogs", name)
	return ""
}

// Fsck runs e2fsck on an image, in which it must find nothing.
func Fsck(tb testing.TB, image string) {
	tb.Helper()
	if out, err := exec.Command(E2fsprogs(tb, "e2fsck"), "-fn", image).CombinedOutput(); err != nil {
		tb.Fatalf("e2fsck -fn: %v\n%s", err, out)
	}
}
