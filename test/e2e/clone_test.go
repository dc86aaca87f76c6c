package e2e

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestE2ECloneIsAMachineOfItsOwn runs two containers whose VMs are copies of one that was booted before.
func TestE2ECloneIsAMachineOfItsOwn(t *testing.T) {
	p := me(t)
	p.must("run", "--rm", p.desk.busybox, "true") // whoever comes first makes the template
	const script = `cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid; head -c 16 /dev/urandom | od -An -tx1
		od -An -tx1 -j 0 /proc/self/auxv | wc -c; cat /sys/class/net/eth0/address; ip -4 addr show eth0 | grep inet; hostname; date +%s; cat /proc/sys/kernel/random/boot_id; ls /proc | grep -c '^[0-9]'`
	what := []string{"boot id", "uuid", "random bytes", "", "MAC address", "address", "host name", "time", "boot id", ""}
	var said [2][]string
	for i := range said {
		name := p.name()
		before := time.Now().Unix()
		said[i] = strings.Split(strings.TrimSpace(p.must("run", "--name", name, p.desk.busybox, "sh", "-c", script)), "\n")
		after := time.Now().Unix()
		if len(said[i]) != len(what) {
			t.Fatalf("it said %q", said[i])
		}
		if clock, err := strconv.ParseInt(said[i][7], 10, 64); err != nil || clock < before || clock > after {
			t.Errorf("the clock shows %s, between %d and %d", said[i][7], before, after)
		}
		if said[i][0] != said[i][8] {
			t.Error("the boot id does not last")
		}
		var inspected []struct{ Timeline []struct{ Name string } }
		if err := json.Unmarshal([]byte(p.must("inspect", name)), &inspected); err != nil || len(inspected) != 1 || len(inspected[0].Timeline) == 0 {
			t.Fatalf("inspect: %+v, %v", inspected, err)
		}
		for _, step := range inspected[0].Timeline {
			if step.Name == "kernel" {
				t.Error("a kernel was booted")
			}
		}
		if boot := p.must("logs", "--boot", name); boot == "" {
			t.Error("the boot of the template is not in the clone's log")
		}
		if again := p.must("start", "-a", name); !strings.Contains(again, said[i][6]) || strings.Contains(again, said[i][0]) {
			t.Errorf("started again it said %q, and before that %q", again, said[i])
		}
	}
	for i, name := range what {
		if same := said[0][i] == said[1][i]; same && name != "" && name != "time" {
			t.Errorf("both have %s %s", name, said[0][i])
		}
	}
}
