package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// counting is a program that counts in its memory, says each number to a file and its output, and answers questions of others by that. The file is made whole and
// then put in its place, as others read it meanwhile; it comes before the output, and so has no less than what was read there.
const counting = `i=0; while :; do i=$((i+1)); echo $i >/counting; mv /counting /count; echo $i; sleep 0.05; done`

// counted returns the numbers that a container's log has, and fails if one is missing or doubled.
func (p *person) counted(name string) int {
	p.t.Helper()
	lines := strings.Fields(p.must("logs", name))
	for i, line := range lines {
		if line != strconv.Itoa(i+1) {
			p.t.Fatalf("line %d of the log is %q", i+1, line)
		}
	}
	return len(lines)
}

// counts waits until the container has counted to more than n.
func (p *person) counts(name string, n int) int {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		if got := p.counted(name); got > n {
			return got
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s does not count%s", name, p.console(nil))
		}
		time.Sleep(100 * time.Millisecond) // the program does
	}
}

// reboot takes away all that does not outlive the host's uptime: processes, sockets, and what is said to be of this boot.
func (p *person) reboot(name string) {
	p.t.Helper()
	p.nothingRuns()
	for pid, line := range p.processes() {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			p.t.Fatal(err)
		}
		if _, rest, found := strings.Cut(line, " --run "); found {
			run, _, _ := strings.Cut(rest, " ")
			if err := os.RemoveAll(run); err != nil {
				p.t.Fatal(err)
			}
		}
	}
	c, _ := p.find(name)
	record := filepath.Join(p.root, "containers", c.ID, "container.json")
	text, err := os.ReadFile(record)
	if err != nil {
		p.t.Fatal(err)
	}
	text = regexp.MustCompile(`"bootId": ?"[^"]*"`).ReplaceAll(text, []byte(`"bootId":"of-another-boot"`))
	if err := os.WriteFile(record, text, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func TestE2EACheckpointedContainerGoesOnWhereItWas(t *testing.T) {
	for name, flags := range map[string][]string{"one CPU": nil, "three CPUs": {"--cpus", "3"}, "without network": {"--network", "none"}} {
		t.Run(name, func(t *testing.T) {
			p := alone(t)
			name := p.name()
			p.must(append(append([]string{"run", "-d", "--name", name}, flags...), p.desk.busybox, "sh", "-c", counting)...)
			p.counts(name, 5)
			before, _ := p.find(name)
			if out := p.must("checkpoint", name); out != name+"\n" {
				t.Errorf("checkpoint printed %q", out)
			}
			reached := p.counted(name)
			c, _ := p.find(name)
			if c.State != "stopped" || c.Reason != "checkpointed" || c.ExitCode != nil || len(c.Addresses) > 0 {
				t.Errorf("ls says %+v", c)
			}
			p.reboot(name)
			begun := time.Now().Unix()
			if out := p.must("restore", "-d", name); out != name+"\n" {
				t.Errorf("restore printed %q", out)
			}
			now := p.counts(name, reached+5)
			after, _ := p.find(name)
			if after.State != "running" || strings.Join(after.Addresses, " ") != strings.Join(before.Addresses, " ") {
				t.Errorf("before it was %+v, and is %+v", before, after)
			}
			count, err := strconv.Atoi(strings.TrimSpace(p.must("exec", name, "cat", "/count")))
			if err != nil || count < now {
				t.Errorf("the file says %d, %v, after %d", count, err, now)
			}
			clock, err := strconv.ParseInt(strings.TrimSpace(p.must("exec", name, "date", "+%s")), 10, 64)
			if err != nil || clock < begun || clock > time.Now().Unix() {
				t.Errorf("the clock says %d, %v; it is between %d and %d", clock, err, begun, time.Now().Unix())
			}
			// Once more, which what was restored can be.
			p.must("checkpoint", name)
			reached = p.counted(name)
			p.must("restore", "-d", name)
			p.counts(name, reached+5)
			if r := p.vzctl("restore", "-d", name); r.code == 0 || !strings.Contains(r.stderr, "it is running; stop it first") {
				t.Errorf("a second restore: %d, %s", r.code, r.stderr)
			}
			p.must("stop", "-t", "1", name)
			if r := p.vzctl("restore", "-d", name); r.code == 0 || !strings.Contains(r.stderr, "it has no checkpoint") {
				t.Errorf("a restore without a checkpoint: %d, %s", r.code, r.stderr)
			}
			if r := p.vzctl("start", name); r.code != 0 {
				t.Errorf("a start afterwards: %d, %s", r.code, r.stderr)
			}
			p.nothingLeft(name)
		})
	}
}

// nothingLeft fails if there is anything of a checkpoint of a container that has none.
func (p *person) nothingLeft(name string) {
	p.t.Helper()
	left, err := filepath.Glob(filepath.Join(p.root, "sandboxes", p.sandbox(name), "checkpoint-*"))
	if err != nil || len(left) > 0 {
		p.t.Errorf("left are %v, %v", left, err)
	}
}

// sandbox returns the id of a container's sandbox.
func (p *person) sandbox(name string) string {
	p.t.Helper()
	text := p.must("inspect", name)
	_, rest, _ := strings.Cut(text, `"sandbox": "`)
	id, _, _ := strings.Cut(rest, `"`)
	if len(id) != 32 {
		p.t.Fatalf("inspect says %s", text)
	}
	return id
}

// TestE2EARestoredContainerHasRandomnessOfItsOwn restores one checkpoint twice, which takes a copy of all that was saved.
func TestE2EARestoredContainerHasRandomnessOfItsOwn(t *testing.T) {
	p := alone(t)
	name := p.name()
	p.must("run", "-d", "--name", name, "--hypervisor-opt", "cpu=max,-erms,-fsrm,-rdrand,-rdseed", p.desk.busybox, "sh", "-c",
		"while :; do head -c 8 /dev/urandom | od -An -tx1; sleep 0.02; done")
	said := func(n int) []string {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) { // it says more all the time
			lines := strings.Split(strings.TrimSpace(p.must("logs", name)), "\n")
			if len(lines) > n {
				return lines
			}
			if time.Now().After(deadline) {
				t.Fatalf("it says %d lines only", len(lines))
			}
		}
	}
	said(3)
	p.must("checkpoint", name)
	before := len(said(0))
	c, _ := p.find(name)
	dirs := []string{filepath.Join(p.root, "containers", c.ID), filepath.Join(p.root, "sandboxes", p.sandbox(name))}
	copies := t.TempDir()
	copyAll := func(from, to string) {
		t.Helper()
		if out, err := exec.Command("cp", "-a", "--sparse=always", from, to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for i, dir := range dirs {
		copyAll(dir, filepath.Join(copies, strconv.Itoa(i)))
	}
	var firsts [2][]string
	for i := range firsts {
		p.must("restore", "-d", name)
		firsts[i] = said(before + 4)[before : before+4]
		p.must("stop", "-t", "1", name)
		if i == 0 {
			for i, dir := range dirs {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
				copyAll(filepath.Join(copies, strconv.Itoa(i)), dir)
			}
		}
	}
	// The first line may have been made before the checkpoint, and been on its way.
	if firsts[0][2] == firsts[1][2] || firsts[0][3] == firsts[1][3] {
		t.Errorf("the same was said after both restores: %q and %q", firsts[0], firsts[1])
	}
}

// TestE2ENothingIsLostOrDoubledOfMuchOutput checkpoints a container that writes as fast as it can, to one who reads and one who does not.
func TestE2ENothingIsLostOrDoubledOfMuchOutput(t *testing.T) {
	p := alone(t)
	const lines = 3_000_000
	name := p.name()
	p.must("run", "-d", "--name", name, p.desk.busybox, "sh", "-c", "sleep 1; seq 1 "+strconv.Itoa(lines)+"; sleep 1000")
	reading := p.command(t.Context(), "attach", "--no-stdin", name)
	var read strings.Builder
	reading.Stdout = &read
	deaf := p.command(t.Context(), "attach", "--no-stdin", name)
	pipe, err := deaf.StdoutPipe() // which nobody reads
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(reading.Start(), deaf.Start()); err != nil {
		t.Fatal(err)
	}
	c, _ := p.find(name)
	log := filepath.Join(p.root, "containers", c.ID, "log")
	grown := func(size int64) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) { // nobody tells of the log's growth
			if info, err := os.Stat(log); err == nil && info.Size() > size {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("the log does not grow")
			}
		}
	}
	grown(100_000)
	p.must("checkpoint", name)
	_ = pipe.Close()
	_, _ = reading.Process.Wait()
	_, _ = deaf.Process.Wait()
	before := p.must("logs", name)
	if len(before) == 0 || strings.HasSuffix(before, strconv.Itoa(lines)+"\n") {
		t.Fatalf("the log has %d bytes at the checkpoint", len(before))
	}
	if !strings.HasPrefix(before, read.String()) {
		t.Error("who was attached has read what is not in the log")
	}
	p.must("restore", "-d", name)
	var want strings.Builder
	for i := range lines {
		want.WriteString(strconv.Itoa(i+1) + "\n")
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) { // it writes
		got := p.must("logs", name)
		if len(got) < want.Len() && time.Now().Before(deadline) {
			continue
		}
		if got != want.String() {
			t.Errorf("the log has %d bytes, and should have %d; the checkpoint was after %d", len(got), want.Len(), len(before))
		}
		return
	}
}

// TestE2EInputGoesOnAfterARestore checkpoints a container to which more is sent than it reads.
func TestE2EInputGoesOnAfterARestore(t *testing.T) {
	p := alone(t)
	name := p.name()
	p.must("run", "-d", "-i", "--name", name, p.desk.busybox, "sh", "-c", "while [ ! -e /go ]; do sleep 0.1; done; while read line; do echo got $line; done")
	typing := p.command(t.Context(), "attach", name)
	stdin, err := typing.StdinPipe()
	if err == nil {
		err = typing.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stdin.Write([]byte("one\ntwo\n")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // it is on its way, and nobody tells when it has come
	p.must("checkpoint", name)
	_ = stdin.Close()
	_, _ = typing.Process.Wait()
	p.must("restore", "-d", name)
	p.must("exec", name, "touch", "/go")
	again := p.command(t.Context(), "attach", name)
	again.Stdin = strings.NewReader("three\n")
	if err := again.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		said := p.must("logs", name)
		if strings.Contains(said, "got three\n") || time.Now().After(deadline) {
			if !strings.HasPrefix(said, "got one\ngot two\ngot three\n") {
				t.Errorf("it read %q", said)
			}
			p.must("rm", "-f", name)
			_ = again.Wait()
			return
		}
	}
}

func TestE2EATerminalAndAForegroundContainerAreCheckpointed(t *testing.T) {
	p := alone(t)
	name := p.name()
	// Removed at its end, which a checkpoint is not.
	run := p.command(t.Context(), "run", "--rm", "-t", "--name", name, p.desk.busybox, "sh", "-c", counting)
	var stdout, stderr strings.Builder
	run.Stdout, run.Stderr = &stdout, &stderr
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if c, found := p.find(name); found && c.State == "running" && len(p.must("logs", name)) > 10 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it does not run")
		}
	}
	p.must("checkpoint", name)
	_ = run.Wait()
	if code := run.ProcessState.ExitCode(); code != 137 || !strings.Contains(stderr.String(), "vzctl restore "+name) {
		t.Errorf("run ended with %d, and says %q", code, stderr.String())
	}
	reached := p.counted(name)
	p.must("restore", "-d", name)
	p.counts(name, reached+5)
	p.must("stop", "-t", "1", name)
	p.nothingRuns()
	if _, found := p.find(name); found {
		t.Error("it was to be removed at its end")
	}
}

func TestE2EAContainerThatGoesOnIsRestoredWithTheFilesOfItsCheckpoint(t *testing.T) {
	p := alone(t)
	name := p.name()
	p.must("run", "-d", "--name", name, p.desk.busybox, "sh", "-c", counting)
	p.counts(name, 3)
	p.must("exec", name, "sh", "-c", "echo before >/file")
	p.must("checkpoint", "--leave-running", name)
	reached := p.counted(name)
	p.counts(name, reached+5)
	if c, _ := p.find(name); c.State != "running" {
		t.Errorf("it is %s", c.State)
	}
	p.must("exec", name, "sh", "-c", "echo after >/file; sync")
	p.must("stop", "-t", "1", name)
	p.must("start", name) // which changes nothing of the checkpoint
	if got := p.must("exec", name, "cat", "/file"); got != "after\n" {
		t.Errorf("the file says %q", got)
	}
	p.must("stop", "-t", "1", name)
	p.must("restore", "-d", name)
	if got := p.must("exec", name, "cat", "/file"); got != "before\n" {
		t.Errorf("after the restore the file says %q", got)
	}
	p.must("stop", "-t", "1", name)
	p.must("start", name)
	if got := p.must("exec", name, "cat", "/file"); got != "before\n" {
		t.Errorf("after a start the file says %q", got)
	}
	p.nothingLeft(name)
}
