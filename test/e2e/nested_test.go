package e2e

import (
	"strings"
	"testing"
)

// TestE2EVMsInTheVMAreRefused where the hypervisor cannot have them, with nothing left.
func TestE2EVMsInTheVMAreRefused(t *testing.T) {
	p := me(t)
	name := p.name()
	r := p.vzctl("run", "--name", name, "--nested", p.desk.busybox, "true")
	if r.code != 125 || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, "nested-virtualization") || !strings.Contains(r.stderr, "leave --nested out") {
		t.Errorf("it says %+v", r)
	}
	if _, there := p.find(name); there {
		t.Error("the container is there")
	}
}
