package command

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/engine"
	"github.com/vzctl/vzctl/sdk/fault"
)

// observed is an engine whose containers use something.
type observed struct {
	*fake
	looks map[string][]engine.Stats // by id
	wait  bool                      // they do not end
	top   []engine.Process
	held  func()
	begin []string
}

func (o observed) Stats(ctx context.Context, ref string, _ time.Duration, each func(engine.Stats) error) error {
	looks, ok := o.looks[ref]
	if !ok {
		return &fault.Error{Reason: fault.FailedPrecondition, Op: "observe container", Subject: ref, Cause: errors.New("it is stopped")}
	}
	for _, look := range looks {
		if err := each(look); err != nil {
			return err
		}
	}
	if o.wait {
		o.held()
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

// Events has one container begin to run, and then nothing.
func (o observed) Events(ctx context.Context, _ engine.EventsOptions, each func(engine.Event) error) error {
	for _, id := range o.begin {
		if err := each(engine.Event{ID: id}); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

func (o observed) Inspect(_ context.Context, ref string) (engine.Container, error) {
	return engine.Container{ID: ref, Name: "new", State: "running"}, nil
}

func (o observed) Top(context.Context, string) ([]engine.Process, error) { return o.top, nil }

func (o observed) desk() *desk {
	d := newDesk(o.fake)
	d.Open = func(context.Context, engine.Options) (engine.API, error) { return o, nil }
	return d
}

func busy() observed {
	f := &fake{containers: []engine.Container{
		{ID: "aaaaaaaaaaaaaaaa", Name: "old", State: "stopped"}, {ID: "bbbbbbbbbbbbbbbb", Name: "web\x1b", State: "running"}, {ID: "cccccccccccccccc", Name: "db", State: "running"},
	}}
	return observed{fake: f, looks: map[string][]engine.Stats{
		"bbbbbbbbbbbbbbbb": {
			{Uptime: 10 * time.Second, CPU: time.Second, MemoryBytes: 1},
			{Uptime: 12 * time.Second, CPU: 4 * time.Second, MemoryBytes: 64 << 20, MemoryLimitBytes: 512 << 20, Pids: 3, BlockReadBytes: 4096, BlockWriteBytes: 5_000_000,
				NetworkReceiveBytes: 1500, NetworkSendBytes: 99, HostMemoryBytes: 123_456_789},
			{Uptime: 13 * time.Second, CPU: 4500 * time.Millisecond, MemoryBytes: 64 << 20, MemoryLimitBytes: 512 << 20},
		},
		"cccccccccccccccc": {{Uptime: 5 * time.Second, CPU: time.Second}, {Uptime: 4 * time.Second, CPU: 0, Pids: 1}},
	}}
}

const usageTable = `ID             NAME   CPU %    MEMORY / LIMIT       MEMORY %   NETWORK IN / OUT   DISK READ / WRITTEN   PIDS   HOST MEMORY
bbbbbbbbbbbb   web?   150.00   67.1 MB / 536.9 MB   12.50      1.5 KB / 99 B      4.1 KB / 5.0 MB       3      123.5 MB
cccccccccccc   db     0.00     0 B / none           0.00       0 B / 0 B          0 B / 0 B             1      ?
`

func TestStatsOfAllThatRun(t *testing.T) {
	d := busy().desk()
	code := d.run(t, "stats", "--no-stream")
	d.wants(t, code, 0, usageTable, "")
}

func TestStatsAsJSONHasEveryKey(t *testing.T) {
	o := busy()
	o.containers = o.containers[2:]
	d := o.desk()
	code := d.run(t, "stats", "--no-stream", "--format", "json")
	d.wants(t, code, 0, `[
  {
    "id": "cccccccccccccccc",
    "name": "db",
    "cpuPercent": 0,
    "cpuNanoseconds": 0,
    "memoryBytes": 0,
    "memoryLimitBytes": 0,
    "memoryPercent": 0,
    "networkReceiveBytes": 0,
    "networkSendBytes": 0,
    "blockReadBytes": 0,
    "blockWriteBytes": 0,
    "pids": 1,
    "pidsLimit": 0,
    "hostMemoryBytes": 0
  }
]
`, "")
	o.containers = nil
	d = o.desk()
	code = d.run(t, "stats", "--no-stream", "--format", "json")
	d.wants(t, code, 0, "[]\n", "")
}

func TestStatsStreamUntilTheContainersHaveEnded(t *testing.T) {
	d := busy().desk()
	code := d.run(t, "stats", "--format", "json", "bbbbbbbbbbbbbbbb")
	lines := strings.Split(strings.TrimSpace(d.stdout.String()), "\n")
	if code != 0 || len(lines) != 2 || !strings.Contains(lines[0], `"cpuPercent":150,`) || !strings.Contains(lines[1], `"cpuPercent":50,`) || d.stderr.Len() > 0 {
		t.Errorf("exit code %d, %q, %s", code, lines, &d.stderr)
	}
}

func TestCtrlCEndsWatchingQuietly(t *testing.T) {
	o := busy()
	o.wait = true
	var d *desk
	o.held = func() { d.signals <- syscall.SIGINT }
	o.containers = o.containers[1:2]
	d = o.desk()
	code := d.run(t, "stats", "--format", "json")
	if code != 130 || d.stderr.Len() > 0 {
		t.Errorf("exit code %d, stderr %q", code, &d.stderr)
	}
}

func TestStatsOfAllShowThoseThatBeginMeanwhile(t *testing.T) {
	o := busy()
	o.containers, o.begin, o.wait = nil, []string{"cccccccccccccccc", "bbbbbbbbbbbbbbbb", "bbbbbbbbbbbbbbbb"}, true
	var d *desk
	var held atomic.Int32
	o.held = func() {
		if held.Add(1) == 2 {
			d.signals <- syscall.SIGINT
		}
	}
	d = o.desk()
	code := d.run(t, "stats", "--format", "json")
	if code != 130 || strings.Count(d.stdout.String(), `"id":"bbbbbbbbbbbbbbbb","name":"new"`) != 2 || strings.Count(d.stdout.String(), `"id":"cccccccccccccccc"`) != 1 {
		t.Errorf("exit code %d, %s, %s", code, &d.stdout, &d.stderr)
	}
}

func TestStatsOfOneThatDoesNotRun(t *testing.T) {
	o := busy()
	d := o.desk()
	code := d.run(t, "stats", "--no-stream", "c")
	d.wants(t, code, 125, "", "vzctl: observe container \"c\": it is stopped\n")
	d = o.desk()
	code = d.run(t, "stats", "--no-stream", "c", "bbbbbbbbbbbbbbbb")
	if code != 1 || d.stderr.String() != "vzctl: observe container \"c\": it is stopped\n" {
		t.Errorf("exit code %d, stderr %q", code, &d.stderr)
	}
}

func TestTop(t *testing.T) {
	o := observed{fake: &fake{}, top: []engine.Process{
		{PID: 1, User: "root", State: "S", CPU: 1234 * time.Millisecond, Age: 5 * time.Minute, MemoryBytes: 1 << 20, Terminal: "pts/0", Command: "sh -c \x1b[2Jx"},
		{PID: 12, Parent: 1, UserID: 1000, State: "R", CPU: 2 * time.Hour, Age: 0, Command: "[kworker]"},
	}}
	d := o.desk()
	code := d.run(t, "top", "web", "-o", "pid,user")
	d.wants(t, code, 0, "PID   USER\n1     root\n12    1000\n", "")
	d = o.desk()
	code = d.run(t, "top", "web")
	d.wants(t, code, 0, `USER   PID   PPID   STATE   TTY     STARTED         TIME      MEMORY   COMMAND
root   1     0      S       pts/0   5 minutes ago   0:01.23   1.0 MB   sh -c ?[2Jx
1000   12    1      R       ?       now             2:00:00   0 B      [kworker]
`, "")
}
