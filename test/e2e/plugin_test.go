package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestE2EAPluginIsVerifiedByNameOrPath(t *testing.T) {
	p := alone(t)
	dir := filepath.Join(filepath.Dir(p.desk.vzctl), "../libexec/vzctl/plugins")
	for _, plugin := range []string{"kernel-local", filepath.Join(dir, "kernel-local"), filepath.Join(dir, "..", "plugins", "ext4-builder")} {
		if got := p.must("plugin", "verify", plugin); !strings.Contains(got, " ok, 0 failed, 0 not run\n") {
			t.Errorf("%s: %s", plugin, got)
		}
	}
	p.fails([]string{"no-such", "no such plugin", "plugin ls"}, "plugin", "verify", "no-such")
	p.fails([]string{"/no/such", "no such file"}, "plugin", "verify", "/no/such")
}
