package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/test/fixtures/image"
)

// healthState is what these tests read of inspect.
type healthState struct {
	Status        string
	FailingStreak int
	Log           []struct {
		ExitCode int
		Output   string
	}
}

// feels waits until the container's health is so.
func (p *person) feels(name, what string, so func(healthState) bool) {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		var all []struct{ Health healthState }
		if err := json.Unmarshal([]byte(p.must("inspect", name)), &all); err != nil || len(all) != 1 {
			p.t.Fatalf("%v, %d containers", err, len(all))
		}
		if so(all[0].Health) {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s is not %s but %+v%s", name, what, all[0].Health, p.console(nil))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func TestE2EAContainerTellsWhetherItIsHealthy(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("run", "-d", "--name", name, "-u", "app", "-e", "FILE=/tmp/ok", "--network", "none", "--tmpfs", "/tmp", "--health-interval", "200ms", "--health-retries", "2", "--health-timeout", "5s",
		"--health-cmd", `[ ! -f /tmp/hang ] || exec sleep 1000; echo "I am $(id -un)"; cat $FILE`, p.desk.busybox, "sleep", "1000")
	p.feels(name, "unhealthy", func(h healthState) bool { return h.Status == "unhealthy" && h.Log[0].ExitCode == 1 })
	if out := p.must("ls"); !strings.Contains(out, "running (unhealthy)") {
		t.Errorf("ls shows\n%s", out)
	}
	if r := p.vzctl("healthcheck", "run", name); r.code != 1 || !strings.Contains(r.stdout, "I am app") || !strings.Contains(r.stdout, "/tmp/ok") {
		t.Errorf("healthcheck run of an unhealthy one: %+v", r)
	}
	p.must("exec", name, "sh", "-c", "echo fine >/tmp/ok")
	p.feels(name, "healthy", func(h healthState) bool { return h.Status == "healthy" && h.FailingStreak == 0 && len(h.Log) == 5 })
	if r := p.vzctl("healthcheck", "run", name); r.code != 0 || r.stdout != "I am app\nfine\n" {
		t.Errorf("healthcheck run of a healthy one: %+v", r)
	}
	// One that hangs is killed when its time is up.
	p.must("exec", name, "touch", "/tmp/hang")
	p.feels(name, "too slow", func(h healthState) bool { return h.Log[len(h.Log)-1].ExitCode == -1 })
	p.must("exec", name, "rm", "/tmp/hang")
	p.feels(name, "well again", func(h healthState) bool { return h.FailingStreak == 0 })
	if out := p.must("exec", name, "sh", "-c", "ps | grep -c '[s]leep 1000'"); out != "1\n" {
		t.Errorf("processes that sleep: %q", out)
	}
	told := p.must("events", "--since", "1h", "--until", "0s", "--filter", "container="+name, "--filter", "event=health_status")
	first, then := strings.Index(told, "status=unhealthy"), strings.Index(told, "status=healthy")
	if first < 0 || then < first {
		t.Errorf("events tell\n%s", told)
	}
	p.must("stop", "-t", "0", name)
	if r := p.vzctl("healthcheck", "run", name); r.code != 125 || !strings.Contains(r.stderr, "it is stopped; start it first") {
		t.Errorf("healthcheck run of a stopped one: %+v", r)
	}
}

func TestE2EAnImageBringsItsHealthCheck(t *testing.T) {
	p := me(t)
	busybox, err := image.Busybox()
	if err != nil {
		t.Fatal(err)
	}
	busybox.Healthcheck = map[string]any{"Test": []string{"CMD", "test", "-f", "/ok"}, "Interval": 90 * time.Second, "Retries": 7}
	repository, err := p.desk.registry.Repository("checked")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := busybox.Push(t.Context(), repository, "latest"); err != nil {
		t.Fatal(err)
	}
	reference := p.desk.registry.Addr + "/checked:latest"
	for flags, want := range map[string]string{
		"": "test -f /ok 1m30s 7", "--health-retries=2": "test -f /ok 1m30s 2", "--health-cmd=true": "true 1m30s 7", "--no-healthcheck": "",
	} {
		name := p.name()
		p.must(append(append([]string{"create", "--name", name}, strings.Fields(flags)...), reference, "true")...)
		var all []struct {
			Health *struct {
				Check struct {
					Test     []string
					Interval time.Duration
					Retries  int
				}
			}
		}
		if err := json.Unmarshal([]byte(p.must("inspect", name)), &all); err != nil {
			t.Fatal(err)
		}
		got := ""
		if h := all[0].Health; h != nil {
			got = fmt.Sprintf("%s %s %d", strings.Join(h.Check.Test[1:], " "), h.Check.Interval, h.Check.Retries)
		}
		if got != want {
			t.Errorf("with %q: %q, want %q", flags, got, want)
		}
	}
}
