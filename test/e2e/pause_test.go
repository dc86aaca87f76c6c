package e2e

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"testing"
	"time"
)

// standStill is how long a container is paused. Its clocks are compared after that, to a second.
const standStill = 6 * time.Second

// clocks returns the time of the day and the uptime that a container shows, in seconds.
func (p *person) clocks(name string) (now, uptime float64) {
	p.t.Helper()
	fields := strings.Fields(p.must("exec", name, "sh", "-c", "date +%s; cat /proc/uptime"))
	for i, into := range []*float64{&now, &uptime} {
		n, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			p.t.Fatalf("the container's clocks show %q", fields)
		}
		*into = n
	}
	return now, uptime
}

func TestE2EAPausedContainerStandsStill(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("run", "-d", "--name", name, p.desk.busybox, "sh", "-c",
		"trap 'echo asked; exit 7' TERM; n=0; while :; do n=$((n+1)); echo $n; sleep 0.1; done")

	// Those who wait and watch do not notice.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	watcher, waiter := p.command(ctx, "attach", name), p.command(ctx, "wait", name)
	var watched, waited bytes.Buffer
	watcher.Stdout, waiter.Stdout = &watched, &waited
	if err := watcher.Start(); err != nil {
		t.Fatal(err)
	}
	if err := waiter.Start(); err != nil {
		t.Fatal(err)
	}

	_, uptime := p.clocks(name)
	if got := p.must("pause", name); got != name+"\n" {
		t.Errorf("pause printed %q", got)
	}
	began := time.Now()
	if c, _ := p.find(name); c.State != "paused" {
		t.Errorf("ls shows %+v", c)
	}
	logged := p.must("logs", name)
	for _, args := range [][]string{{"exec", name, "true"}, {"kill", "-s", "TERM", name}, {"pause", name}, {"checkpoint", name}, {"update", "--cpu-shares", "9", name}} {
		r := p.vzctl(args...)
		if want := "container \"" + name + "\": it is paused; "; r.code == 0 || !strings.Contains(r.stderr, want) || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%s: exit code %d, %q", args[0], r.code, r.stderr)
		}
	}
	time.Sleep(standStill - time.Since(began)) // nobody tells when nothing happens
	if now := p.must("logs", name); now != logged {
		t.Errorf("it has gone on: %d bytes of output, then %d", len(logged), len(now))
	}
	p.must("unpause", name)

	before := time.Now()
	now, later := p.clocks(name)
	after := time.Now()
	if now < float64(before.Unix())-1 || now > float64(after.Unix())+1 {
		t.Errorf("its clock shows %v, the host's between %d and %d", now, before.Unix(), after.Unix())
	}
	// The clock that its timers go by has stood still: nothing falls due at once.
	if passed := after.Sub(began).Seconds(); later-uptime > passed-standStill.Seconds()/2 {
		t.Errorf("it was up for %v s in the %v s of which it stood still for %v", later-uptime, passed, standStill)
	}

	// A stop lets it go on, so that it hears it.
	p.must("pause", name)
	p.must("stop", name)
	if c, _ := p.find(name); c.State != "stopped" || c.ExitCode == nil || *c.ExitCode != 7 {
		t.Errorf("ls shows %+v", c)
	}
	_ = watcher.Wait() // with the container's exit code
	if err := waiter.Wait(); err != nil || waited.String() != "7\n" {
		t.Errorf("who waited got %q, %v", waited.String(), err)
	}
	all := p.must("logs", name)
	if !strings.HasSuffix(all, "asked\n") || !strings.HasSuffix(all, watched.String()) || watched.Len() == 0 {
		t.Errorf("who watched has seen %d bytes; the log ends with %q", watched.Len(), all[max(0, len(all)-40):])
	}
	p.must("start", name)
	p.must("pause", name)
	p.must("rm", "-f", name)
	p.nothingRuns()
}

func TestE2EAClockThatIsWrongIsPutRight(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("run", "-d", "--name", name, "--cap-add", "SYS_TIME", p.desk.busybox, "sleep", "1000")
	p.must("exec", name, "date", "-s", "2001-01-01 00:00:00") // as if the host had slept
	deadline := time.Now().Add(time.Minute)
	for {
		now, _ := p.clocks(name)
		if off := time.Since(time.Unix(int64(now), 0)); off.Abs() < 5*time.Second {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("its clock is still %s behind", off)
		}
	}
}
