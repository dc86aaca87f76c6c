package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A log is followed through its files, shown by time, and bounded.
func TestE2ELogsAreFollowedTimedAndBounded(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("run", "-d", "-i", "--name", name, "--log-opt", "max-size=16k", "--log-opt", "max-file=8", p.desk.busybox, "sh", "-c",
		`count() { i=$1; while [ $i -lt $2 ]; do i=$((i+1)); echo "line $i"; done; }; read x; count 0 1500; echo "not out" >&2; read x; count 1500 20000; read x`)
	inspected := p.must("inspect", name)
	if !strings.Contains(inspected, `"logMaxBytes": 16384`) || !strings.Contains(inspected, `"logMaxFiles": 8`) {
		t.Errorf("inspect says %s", inspected)
	}
	follow := p.command(t.Context(), "logs", "-f", name)
	out, err := follow.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	complaints, err := follow.StderrPipe()
	if err == nil {
		err = follow.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	boot := p.command(t.Context(), "logs", "--boot", "-f", name)
	if err := boot.Start(); err != nil {
		t.Fatal(err)
	}
	say := p.command(t.Context(), "attach", name)
	in, err := say.StdinPipe()
	if err == nil {
		err = say.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(in, "go")
	lines := bufio.NewScanner(out)
	for i := 1; i <= 1500; i++ {
		if !lines.Scan() || lines.Text() != fmt.Sprintf("line %d", i) {
			t.Fatalf("line %d is %q, %v", i, lines.Text(), lines.Err())
		}
	}

	if text, err := bufio.NewReader(complaints).ReadString('\n'); text != "not out\n" {
		t.Errorf("stderr: %q, %v", text, err)
	}

	// The last lines, with their times; and those since and until. Which of the streams came last is chance.
	stamp := `20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z `
	r := p.vzctl("logs", "--tail", "1", "-t", name)
	if !regexp.MustCompile(`^` + stamp + `(line 1500|not out)\n$`).MatchString(r.stdout + r.stderr) {
		t.Errorf("the last line with its time is %q, %q", r.stdout, r.stderr)
	}
	if r := p.vzctl("logs", "-t", name); !regexp.MustCompile(`^`+stamp+`not out\n$`).MatchString(r.stderr) || strings.Count(r.stdout, "\n") != 1500 ||
		!regexp.MustCompile(`^(`+stamp+`line \d+\n)+$`).MatchString(r.stdout) {
		t.Errorf("with times %.200q, %.200q", r.stdout, r.stderr)
	}
	middle := time.Now()
	if got := p.must("logs", "--since", "1h", "--until", fmt.Sprint(middle.Unix()+1), name); strings.Count(got, "\n") != 1500 {
		t.Errorf("%d lines of the last hour", strings.Count(got, "\n"))
	}
	if got := p.must("logs", "--until", middle.Add(-time.Hour).Format(time.RFC3339), name); got != "" {
		t.Errorf("an hour ago it had written %.100q", got)
	}

	fmt.Fprintln(in, "go")
	for lines.Scan() && lines.Text() != "line 20000" {
	}
	p.must("stop", "-t", "0", name)
	if err := follow.Wait(); err != nil {
		t.Errorf("who follows: %v", err)
	}
	if err := boot.Wait(); err != nil {
		t.Errorf("who follows the console: %v", err)
	}
	_ = say.Wait() // with the container's exit code
	c, _ := p.find(name)
	files, err := filepath.Glob(filepath.Join(p.root, "containers", c.ID, "log*"))
	if err != nil || len(files) != 8 {
		t.Errorf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Size() > 16<<10 {
			t.Errorf("%s: %v, %v", f, info, err)
		}
	}
	if got := p.must("logs", "-n", "2", name); got != "line 19999\nline 20000\n" {
		t.Errorf("the last lines are %q", got)
	}
	if got := p.must("logs", name); !strings.HasSuffix(got, "\nline 20000\n") || strings.Contains(got, "line 1500\n") {
		t.Errorf("%d bytes are left, %.30q", len(got), got)
	}
}

func TestE2EWhatAContainerUsesAndRuns(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("run", "-d", "--name", name, "--pids-limit", "50", p.desk.busybox, "sh", "-c",
		"dd if=/dev/zero of=/tmp/file bs=1M count=8 2>/dev/null; sync; touch /tmp/ready; while :; do :; done & exec sleep 1000")
	p.must("exec", "-d", "-u", "app", name, "sleep", "600")
	p.must("exec", "-d", "-t", "-u", "4242", name, "sleep", "700")
	p.must("exec", name, "sh", "-c", "until [ -e /tmp/ready ]; do sleep 0.1; done")

	var stats []struct {
		Name                                               string
		CPUPercent                                         float64
		MemoryBytes, MemoryLimitBytes, Pids, PidsLimit     uint64
		BlockWriteBytes, NetworkSendBytes, HostMemoryBytes uint64
		MemoryPercent                                      float64
	}
	if err := json.Unmarshal([]byte(p.must("stats", "--no-stream", "--format", "json", name)), &stats); err != nil {
		t.Fatal(err)
	}
	s := stats[0]
	if s.Name != name || s.CPUPercent < 1 || s.CPUPercent > 400 || s.MemoryBytes == 0 || s.MemoryLimitBytes != 512<<20 || s.Pids != 4 || s.PidsLimit != 50 ||
		s.BlockWriteBytes < 8<<20 || s.HostMemoryBytes < 8<<20 {
		t.Errorf("it uses %+v", s)
	}
	// The table is made again and again, until those named have ended.
	live := p.command(t.Context(), "stats", name)
	out, err := live.StdoutPipe()
	if err == nil {
		err = live.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), name[:20]) {
	}

	var processes []struct {
		PID, PPID, UID                 int
		User, State, Terminal, Command string
		MemoryBytes                    uint64
	}
	if err := json.Unmarshal([]byte(p.must("top", "--format", "json", name)), &processes); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, process := range processes {
		found[process.Command] = fmt.Sprint(process.User, " ", process.UID, " ", process.Terminal)
		if process.Command == "sleep 1000" && process.PID != 1 || process.MemoryBytes == 0 && process.State != "Z" || process.PID != 1 && process.PPID > 1 {
			t.Errorf("%+v", process)
		}
	}
	for command, want := range map[string]string{"sleep 1000": "root 0 ", "sleep 600": "app 1000 ", "sleep 700": " 4242 pts/0"} {
		if found[command] != want {
			t.Errorf("%s: %q, want %q", command, found[command], want)
		}
	}
	if len(processes) != 4 {
		t.Errorf("processes: %+v", processes)
	}

	p.must("stop", "-t", "0", name)
	for lines.Scan() {
	}
	if err := live.Wait(); err != nil {
		t.Errorf("stats: %v", err)
	}
	for _, command := range []string{"top", "stats"} {
		r := p.vzctl(command, name)
		if want := fmt.Sprintf("vzctl: cannot observe container %q: it is stopped; start it first\n", name); r.code != 125 || r.stderr != want {
			t.Errorf("%s: exit code %d, stderr %q", command, r.code, r.stderr)
		}
	}
}
