package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// kilobytes reads a line like "Pss:   123 kB" of a file below /proc/PID.
func kilobytes(t *testing.T, pid int, file, name string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kB int
		if rest, found := strings.CutPrefix(line, name+":"); found {
			if _, err := fmt.Sscan(rest, &kB); err != nil {
				t.Fatal(err)
			}
			return kB
		}
	}
	t.Fatalf("no %s in %s", name, file)
	return 0
}

// TestE2EMemoryThatACloneFreesReturnsToTheHostAndToNobodyElse has a process in a clone take 200 MB and end. The guest reports the pages as free, and QEMU gives them back:
// of its own copy, and not of the template, nor of another clone that has put the same into its own.
func TestE2EMemoryThatACloneFreesReturnsToTheHostAndToNobodyElse(t *testing.T) {
	p := alone(t)
	start := func() (name string, qemu int) {
		name = p.name()
		known := p.processes()
		p.must("run", "-d", "-m", "512m", "--name", name, p.desk.busybox, "sleep", "1000")
		for pid, line := range p.processes() {
			if known[pid] == "" && strings.Contains(line, "qemu-system-") {
				qemu = pid
			}
		}
		return name, qemu
	}
	_, other := start()
	name, qemu := start()
	if other == 0 || qemu == 0 {
		t.Fatal("where is QEMU?")
	}
	memory, err := filepath.Glob(filepath.Join(p.root, "cache/qemu-hypervisor/templates/*/memory"))
	if err != nil || len(memory) != 1 {
		t.Fatalf("there are templates %v, %v", memory, err)
	}
	digest := digestOf(t, memory[0])
	others := kilobytes(t, other, "smaps_rollup", "Private_Dirty")
	p.must("exec", name, "dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1")
	peak := kilobytes(t, qemu, "status", "VmHWM")
	if peak < 200<<10 {
		t.Fatalf("QEMU had %d kB at most; the process in it took more", peak)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		if now := kilobytes(t, qemu, "smaps_rollup", "Pss"); now < peak-150<<10 {
			t.Logf("QEMU had %d kB, and now %d", peak, now)
			break
		} else if time.Now().After(deadline) {
			t.Errorf("QEMU still has %d kB of %d", now, peak)
			break
		}
		time.Sleep(100 * time.Millisecond) // the guest reports after 2 seconds, and nobody tells
	}
	if digestOf(t, memory[0]) != digest {
		t.Error("the template has changed")
	}
	if now := kilobytes(t, other, "smaps_rollup", "Private_Dirty"); now > others+20<<10 {
		t.Errorf("the other clone had %d kB of its own, and now %d", others, now)
	}
	if got := p.must("run", "--rm", "-m", "512m", p.desk.busybox, "echo", "hi"); got != "hi\n" {
		t.Errorf("a clone after that printed %q", got)
	}
}

// counter counts what is written to it.
type counter struct {
	n     atomic.Int64
	grown chan struct{} // has room for one
}

func (c *counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	select {
	case c.grown <- struct{}{}:
	default:
	}
	return len(p), nil
}

// TestE2EClonesStartWhileAnotherStreams has one clone write without end while others start, run and go.
func TestE2EClonesStartWhileAnotherStreams(t *testing.T) {
	p := alone(t)
	p.must("run", "--rm", p.desk.busybox, "true") // makes the template
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	streaming := p.name()
	writer := p.command(ctx, "run", "--name", streaming, p.desk.busybox, "cat", "/dev/zero")
	out := &counter{grown: make(chan struct{}, 1)}
	writer.Stdout = out
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- writer.Wait() }()
	more := func() { // waits until it has written more
		t.Helper()
		for before := out.n.Load(); out.n.Load() < before+1<<20; {
			select {
			case <-out.grown:
			case err := <-ended:
				t.Fatalf("the one that writes has ended: %v", err)
			case <-ctx.Done():
				t.Fatal("the one that writes does not go on")
			}
		}
	}
	more()
	for range 3 {
		name := p.name()
		if got := p.must("run", "--name", name, p.desk.busybox, "sh", "-c", "seq 20000 | md5sum"); got != "e071f707df7bbeee2a6a1eb48011ddd0  -\n" {
			t.Errorf("a clone printed %q", got)
		}
		if !p.cloned(name) {
			t.Error("it was not cloned")
		}
		more()
	}
	p.must("rm", "-f", streaming)
	<-ended
	p.nothingRuns()
}
