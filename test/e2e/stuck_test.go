package e2e

import (
	"strings"
	"testing"
	"time"
)

// A freeze waits for those who write, and who waits for the freeze to end would wait for ever with one that does not.
func TestE2EAFreezeThatWaitsForAProcessLetsItBeKilled(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("run", "-d", "--name", name, p.desk.imageWith(t, "stuck"), "stuck", "splice", "/file")
	for deadline := time.Now().Add(patience); !strings.Contains(p.must("logs", name), "it begins"); {
		if time.Now().After(deadline) {
			t.Fatal("it does not begin")
		}
	}
	frozen := make(chan result, 1)
	go func() { frozen <- p.vzctl("fs", "freeze", name) }()
	select {
	case r := <-frozen:
		t.Fatalf("the freeze does not wait: %+v", r)
	case <-time.After(2 * time.Second): // nobody tells when it waits
	}
	p.must("kill", name)
	if got := p.must("wait", name); got != "137\n" {
		t.Errorf("wait printed %q", got)
	}
	if c, _ := p.find(name); c.Reason != "killed" {
		t.Errorf("it is %+v", c)
	}
	<-frozen // whatever has become of it
}
