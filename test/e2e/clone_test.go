package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
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
		cat /sys/class/net/eth0/address; ip -4 addr show eth0 | grep inet; hostname; date +%s; cat /proc/sys/kernel/random/boot_id`
	what := []string{"boot id", "uuid", "random bytes", "MAC address", "address", "host name", "time", "boot id"}
	var said [2][]string
	for i := range said {
		name := p.name()
		before := time.Now().Unix()
		said[i] = strings.Split(strings.TrimSpace(p.must("run", "--name", name, p.desk.busybox, "sh", "-c", script)), "\n")
		after := time.Now().Unix()
		if len(said[i]) != len(what) {
			t.Fatalf("it said %q", said[i])
		}
		if clock, err := strconv.ParseInt(said[i][6], 10, 64); err != nil || clock < before || clock > after {
			t.Errorf("the clock shows %s, between %d and %d", said[i][6], before, after)
		}
		if said[i][0] != said[i][7] {
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
		if again := p.must("start", "-a", name); !strings.Contains(again, said[i][5]) || strings.Contains(again, said[i][0]) {
			t.Errorf("started again it said %q, and before that %q", again, said[i])
		}
	}
	for i, name := range what {
		if same := said[0][i] == said[1][i]; same && name != "time" {
			t.Errorf("both have %s %s", name, said[0][i])
		}
	}
}

func TestE2ETemplatesAreListedRemovedAndMadeAnew(t *testing.T) {
	p := alone(t)
	type template struct {
		ID, Description string
		SizeBytes       int64
		Damaged         bool
	}
	list := func() (all []template) {
		t.Helper()
		if err := json.Unmarshal([]byte(p.must("system", "template", "ls", "--format", "json")), &all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	if all := list(); len(all) != 0 {
		t.Errorf("a new root has %v", all)
	}
	p.must("run", "--rm", p.desk.busybox, "true")
	all := list()
	if len(all) != 1 || all[0].Damaged || all[0].SizeBytes < 1<<20 || all[0].Description == "" {
		t.Fatalf("after a run there are %+v", all)
	}
	if again := p.must("system", "template", "prune"); again != "" {
		t.Errorf("one that was just used was pruned: %s", again)
	}
	name := p.name()
	p.must("run", "-d", "--name", name, p.desk.busybox, "sleep", "1000")
	if removed := p.must("system", "template", "rm", all[0].ID); removed != all[0].ID+"\n" {
		t.Errorf("rm printed %q", removed)
	}
	if out := p.must("exec", name, "echo", "alive"); out != "alive\n" {
		t.Errorf("a container whose template was removed says %q", out)
	}
	if r := p.vzctl("system", "template", "rm", all[0].ID); r.code != 1 || !strings.Contains(r.stderr, "not found") {
		t.Errorf("a second rm: exit code %d, %s", r.code, r.stderr)
	}
	p.must("run", "--rm", p.desk.busybox, "true")
	if all := list(); len(all) != 1 {
		t.Errorf("after the next run there are %v", all)
	}
}

func TestE2EATemplateIsMadeAheadVerifiedAndRemovedOnceDamaged(t *testing.T) {
	p := alone(t)
	id := strings.TrimSpace(p.must("system", "template", "warm"))
	if list := p.must("system", "template", "ls", "-q"); id == "" || list != id+"\n" {
		t.Fatalf("warm made %q; there are %q", id, list)
	}
	if containers := p.must("ls", "-aq"); containers != "" {
		t.Errorf("warm left containers: %s", containers)
	}
	if again := strings.TrimSpace(p.must("system", "template", "warm")); again != id {
		t.Errorf("a second warm gave %q after %q", again, id)
	}
	cloned := func() bool {
		t.Helper()
		name := p.name()
		p.must("run", "--name", name, p.desk.busybox, "true")
		defer p.must("rm", name)
		return strings.Contains(p.must("inspect", name), `"cloned": true`)
	}
	if !cloned() {
		t.Error("the first container was not cloned")
	}
	if list := p.must("system", "template", "ls", "-q"); list != id+"\n" {
		t.Errorf("the first container had a template of its own: %q, besides %q", list, id)
	}
	if said := p.must("system", "template", "verify"); !strings.Contains(said, id) || !strings.Contains(said, "as it was") {
		t.Errorf("verify says %q", said)
	}
	memory := filepath.Join(p.root, "cache", "qemu-hypervisor", "templates", id, "memory")
	file, err := os.OpenFile(memory, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteAt([]byte("damage"), 1<<20)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	if r := p.vzctl("system", "template", "verify"); r.code != 1 || !strings.Contains(r.stdout, "damaged and removed") {
		t.Errorf("verify of a damaged one: exit code %d, %s%s", r.code, r.stdout, r.stderr)
	}
	if list := p.must("system", "template", "ls", "-q"); list != "" {
		t.Errorf("left are %q", list)
	}
	if !cloned() {
		t.Error("no template was made anew")
	}
	p.must("system", "template", "verify")
}
