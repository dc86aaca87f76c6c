package helper

import (
	"os/exec"
	"strings"
	"testing"
)

func TestTheHelperImportsNothingThatIsSlowToSetUp(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.Lines(string(out)) {
		path = strings.TrimSpace(path)
		if path == "net" || path == "path/filepath" || strings.HasPrefix(path, "net/") || strings.HasPrefix(path, "google.golang.org/") || strings.HasPrefix(path, "golang.org/x/net/") {
			t.Errorf("it imports %s", path)
		}
	}
}
