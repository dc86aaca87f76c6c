package launch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/kernel"
	"github.com/vzctl/vzctl/sdk/launch"
	"github.com/vzctl/vzctl/sdk/plugintest"
	"github.com/vzctl/vzctl/sdk/progress"
	"github.com/vzctl/vzctl/sdk/rpc"
)

var scripted string

func TestMain(m *testing.M) {
	if path := os.Getenv("VZCTL_TEST_HOST"); path != "" {
		beHost(path)
		return
	}
	dir, err := os.MkdirTemp("", "scripted")
	if err == nil {
		scripted, err = plugintest.Build(dir, plugintest.ScriptedPackage)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func options(t *testing.T, script string) launch.Options {
	return launch.Options{Path: scripted, Kind: sdk.KernelProvider, RuntimeDir: plugintest.RuntimeDir(t), Env: []string{"VZCTL_SCRIPT=" + script}}
}

func start(t *testing.T, o launch.Options) (*launch.Process, *kernel.Client) {
	t.Helper()
	p, err := launch.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close(context.Background()) })
	return p, kernel.NewClient(p.Conn(), p.Info())
}

func TestAPluginThatStartsAnswers(t *testing.T) {
	p, provider := start(t, options(t, ""))
	if p.Info().Name != "scripted" || p.Info().Version != "1.2.3" || p.Info().Kind != sdk.KernelProvider || p.Protocol() != 1 {
		t.Errorf("info is %+v, protocol %d", p.Info(), p.Protocol())
	}
	list, err := provider.List(t.Context(), "ok", "")
	if err != nil || len(list) != 1 || list[0].Path != "/boot/vmlinux" {
		t.Errorf("list is %+v, %v", list, err)
	}
}

func TestAPluginThatCannotStartGivesOneClearError(t *testing.T) {
	for _, c := range []struct {
		name, script string
		change       func(*launch.Options)
		reason       fault.Reason
		says         []string
	}{
		{name: "it panics", script: "crash", reason: fault.Unavailable, says: []string{"ended before it was ready", "exit status 2", "panic: no reason at all"}},
		{name: "it exits with a message", script: "exit", reason: fault.Unavailable, says: []string{"exit status 7", "cannot find my glasses"}},
		{name: "it hangs", script: "hang", reason: fault.Unavailable, says: []string{"no answer within 500ms"}},
		{name: "it prints garbage", script: "garbage", reason: fault.Invalid, says: []string{`"hello, I am no plugin"`}},
		{name: "it prints a line without end", script: "flood", reason: fault.Invalid, says: []string{"xxxx"}},
		{name: "it speaks another wire version", script: "wrong-wire", reason: fault.Invalid, says: []string{"version 99", "this program speaks 1"}},
		{name: "it speaks net/rpc", script: "net-rpc", reason: fault.Invalid, says: []string{"netrpc", "only grpc"}},
		{name: "it listens elsewhere", script: "elsewhere", reason: fault.Invalid, says: []string{"does not listen where it was told to"}},
		{name: "it listens elsewhere, by a way round", script: "elsewhere-round", reason: fault.Invalid, says: []string{"does not listen where it was told to"}},
		{name: "its handshake is of another version", script: "wrong-handshake", reason: fault.Invalid, says: []string{"handshake is of version 2, and this program knows 1"}},
		{name: "it closes its output", script: "mute", reason: fault.Invalid, says: []string{"closed its standard output"}},
		{name: "it speaks other protocol versions of its kind", script: "wrong-protocol", reason: fault.Invalid, says: []string{`"scripted" 1.2.3 speaks version 7, 9 of the kernel-provider protocol`, "speaks 1"}},
		{name: "it is of another kind", reason: fault.Invalid, change: func(o *launch.Options) { o.Kind = sdk.Network }, says: []string{"is a kernel-provider, and a network is wanted"}},
		{name: "it does not exist", reason: fault.NotFound, change: func(o *launch.Options) { o.Path = "/nowhere/plugin" }, says: []string{"no such file"}},
		{name: "it is not executable", reason: fault.PermissionDenied, change: func(o *launch.Options) { o.Path = "/etc/passwd" }, says: []string{"permission denied"}},
		{name: "it has another digest", reason: fault.DigestMismatch, change: func(o *launch.Options) { o.SHA256 = strings.Repeat("0", 64) }, says: []string{"its SHA-256 is", "pinned 0000"}},
		{name: "its directory is open to others", reason: fault.Invalid, change: func(o *launch.Options) { _ = os.Chmod(o.RuntimeDir, 0o755) }, says: []string{"mode 0755"}},
		{name: "its directory is too long", reason: fault.Invalid, change: func(o *launch.Options) {
			o.RuntimeDir = filepath.Join(o.RuntimeDir, strings.Repeat("d", 80))
			_ = os.Mkdir(o.RuntimeDir, 0o700)
		}, says: []string{"too long"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(t, c.script)
			o.StartTimeout = 10 * time.Second
			if c.script == "hang" {
				o.StartTimeout = 500 * time.Millisecond
			}
			if c.change != nil {
				c.change(&o)
			}
			p, err := launch.Start(t.Context(), o)
			if err == nil {
				_ = p.Close(t.Context())
				t.Fatal("it started")
			}
			if !errors.Is(err, c.reason) {
				t.Errorf("reason is %q, not %q", fault.ReasonOf(err), c.reason)
			}
			for _, text := range append(c.says, "start plugin") {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("error does not say %q: %v", text, err)
				}
			}
			if strings.Contains(err.Error(), "\n") || len(err.Error()) > 1000 {
				t.Errorf("error is no short line: %q", err)
			}
			left, _ := os.ReadDir(o.RuntimeDir)
			if len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestARelativePathIsOurs(t *testing.T) {
	t.Chdir(filepath.Dir(scripted))
	o := options(t, "")
	o.Path = filepath.Base(scripted)
	start(t, o)
}

func TestARuntimeDirectoryMayBeWrittenInAnyWay(t *testing.T) {
	o := options(t, "")
	o.RuntimeDir += "//./"
	start(t, o)
}

func TestCancellingAStartEndsIt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	_, err := launch.Start(ctx, options(t, "hang"))
	if !errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
}

func TestCallersCanTellHowACallFailed(t *testing.T) {
	const (
		cancelled = "cancelled"
		late      = "late"
		gone      = "gone"
		answered  = "answered"
	)
	classify := func(err error) string {
		switch {
		case errors.Is(err, context.Canceled):
			return cancelled
		case errors.Is(err, context.DeadlineExceeded):
			return late
		case errors.Is(err, rpc.ErrGone):
			return gone
		}
		return answered
	}
	for _, c := range []struct {
		name, call  string
		caller      func(context.Context) (context.Context, context.CancelFunc)
		callTimeout time.Duration
		how         string
		reason      fault.Reason
		says        []string
	}{
		{name: "the plugin exits", call: "crash", how: gone, reason: fault.Unavailable, says: []string{`plugin "scripted"`, "exit status 3", "about to fail: the floor is lava"}},
		{name: "the plugin crashes", call: "panic-elsewhere", how: gone, reason: fault.Unavailable, says: []string{"exit status 2", "panic: goroutine went wrong"}},
		{name: "the call panics", call: "panic", how: answered, reason: fault.Internal, says: []string{"panic: call went wrong"}},
		{name: "the caller leaves", call: "hang", how: cancelled, caller: func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(50*time.Millisecond, cancel)
			return ctx, cancel
		}},
		{name: "the caller's deadline passes", call: "hang-deaf", how: late, reason: fault.Unavailable, says: []string{"gave no answer within"}, caller: func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 50*time.Millisecond)
		}},
		{name: "the default deadline passes", call: "hang-deaf", how: late, reason: fault.Unavailable, callTimeout: 50 * time.Millisecond, says: []string{"gave no answer within"}},
		{name: "a frozen plugin passes the deadline", call: "freeze", how: late, reason: fault.Unavailable, callTimeout: 50 * time.Millisecond, says: []string{"gave no answer within"}},
		{name: "a plugin answers a path that is none", call: "relative", how: answered, reason: fault.Internal, says: []string{"boot/vmlinux", "absolute"}},
		{name: "an error with huge text is cut", call: "huge-error", how: answered, reason: fault.Internal, says: []string{"begin very", "very end"}},
	} {
		for _, form := range []string{"unary", "stream"} {
			if form == "stream" && c.callTimeout != 0 {
				continue // streams last as long as their work
			}
			t.Run(c.name+" ("+form+")", func(t *testing.T) {
				o := options(t, "")
				o.CallTimeout, o.StopGrace = c.callTimeout, time.Second
				_, provider := start(t, o)
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if c.caller != nil {
					ctx, cancel = c.caller(ctx)
				}
				defer cancel()
				var err error
				if form == "unary" {
					_, err = provider.List(ctx, c.call, "")
				} else {
					_, err = provider.Ensure(ctx, kernel.EnsureRequest{Reference: c.call}, nil)
				}
				if how := classify(err); err == nil || how != c.how {
					t.Fatalf("it looks %s, not %s: %v", how, c.how, err)
				}
				if c.reason != "" && !errors.Is(err, c.reason) {
					t.Errorf("reason of %v is %q", err, fault.ReasonOf(err))
				}
				for _, text := range c.says {
					if !strings.Contains(err.Error(), text) {
						t.Errorf("error does not say %q: %v", text, err)
					}
				}
				if len(err.Error()) > 5000 || strings.Contains(err.Error(), "\n") {
					t.Errorf("error has %d bytes: %.300q", len(err.Error()), err)
				}
			})
		}
	}
}

func TestAPanicInOneCallLeavesThePluginAlive(t *testing.T) {
	_, provider := start(t, options(t, ""))
	_, _ = provider.List(t.Context(), "panic", "")
	if _, err := provider.List(t.Context(), "ok", ""); err != nil {
		t.Error(err)
	}
}

func TestACallToADeadPluginFailsAtOnce(t *testing.T) {
	p, provider := start(t, options(t, ""))
	_ = syscall.Kill(p.PID(), syscall.SIGKILL)
	<-p.Done()
	_, err := provider.List(t.Context(), "ok", "")
	if !errors.Is(err, rpc.ErrGone) || !strings.Contains(err.Error(), "signal: killed") {
		t.Error(err)
	}
}

func TestErrorsCrossWithEveryReason(t *testing.T) {
	_, provider := start(t, options(t, ""))
	for _, reason := range []fault.Reason{
		fault.NotFound, fault.AlreadyExists, fault.Invalid, fault.FailedPrecondition, fault.Unsupported, fault.Unauthenticated, fault.PermissionDenied,
		fault.Unavailable, fault.DigestMismatch, fault.NoSpace, fault.InUse, fault.Internal,
	} {
		_, err := provider.List(t.Context(), "error "+string(reason), "")
		if !errors.Is(err, reason) || err.Error() != `list "kernels": you asked for it; ask for something else` {
			t.Errorf("%q came as %q: %v", reason, fault.ReasonOf(err), err)
		}
	}
}

func TestProgressArrivesInOrder(t *testing.T) {
	_, provider := start(t, options(t, ""))
	var got []string
	_, err := provider.Ensure(t.Context(), kernel.EnsureRequest{Reference: "progress"}, func(u progress.Update) { got = append(got, fmt.Sprint(u.Item, u.Done, u.Total, u.Unit)) })
	if err != nil || strings.Join(got, " ") != "01 3items 12 3items 23 3items" && len(got) != 3 {
		t.Errorf("%q, %v", got, err)
	}
}

func TestLogLinesKeepTheirLevel(t *testing.T) {
	var log lockedBuffer
	o := options(t, "")
	o.Log = hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: &log, DisableTime: true})
	p, provider := start(t, o)
	if _, err := provider.List(t.Context(), "log", ""); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for n, line := range []string{"[DEBUG] scripted: a debug line: ", "[INFO]  scripted: an info line: ", "[WARN]  scripted: a warning: ", "[ERROR] scripted: an error: "} {
		_, rest, found := strings.Cut(log.String(), line)
		if rest, _, _ = strings.Cut(rest, "\n"); !found || !strings.Contains(rest, fmt.Sprint("n=", n+1)) {
			t.Errorf("no %q with its value in\n%s", line, log.String())
		}
	}
	if strings.Contains(log.String(), "a trace") {
		t.Error("a line below the level came through")
	}
}

func TestWhatAPluginLogsIsNotTrusted(t *testing.T) {
	var log lockedBuffer
	o := options(t, "")
	o.Log = hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: &log, DisableTime: true})
	p, provider := start(t, o)
	if _, err := provider.List(t.Context(), "log-anything", ""); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`[DEBUG] scripted: {"@message":1,"@level":2,"@timestamp":3}`, `[DEBUG] scripted: {"@level":"shout","@message":"x"}`, "[WARN]  scripted: [WARN] by hand", "[DEBUG] scripted: []",
		"[INFO]  scripted: last, without an end",
	} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("no %q in\n%.2000s", line, log.String())
		}
	}
}

func TestOnlyWhatFetchesLearnsTheWayToTheWorld(t *testing.T) {
	proxy := "https_proxy=http://user:hunter2@proxy.example.com:3128"
	t.Setenv("https_proxy", strings.TrimPrefix(proxy, "https_proxy="))
	for kind, want := range map[sdk.Kind]bool{sdk.KernelProvider: true, "": false} {
		o := options(t, "")
		o.Kind = kind
		_, provider := start(t, o)
		list, err := provider.List(t.Context(), "env", "")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(list[0].CommandLine, proxy); got != want {
			t.Errorf("kind %q knows the proxy: %t", kind, got)
		}
	}
}

func TestAPluginGetsAShortEnvironmentAndNoInput(t *testing.T) {
	t.Setenv("SECRET_TOKEN", "hunter2")
	t.Setenv("HOME", "/home/somebody")
	o := options(t, "")
	_, provider := start(t, o)
	list, err := provider.List(t.Context(), "env", "")
	if err != nil {
		t.Fatal(err)
	}
	env := list[0].CommandLine
	if strings.Contains(env, "hunter2") {
		t.Error("a secret of ours is in the plugin's environment")
	}
	for _, line := range []string{"HOME=/home/somebody", "TMPDIR=" + o.RuntimeDir, "VZCTL_SCRIPT="} {
		if !strings.Contains(env, line) {
			t.Errorf("no %q in\n%s", line, env)
		}
	}
	if list, _ = provider.List(t.Context(), "stdin", ""); list[0].CommandLine != "0 EOF" {
		t.Errorf("reading standard input gave %q", list[0].CommandLine)
	}
}

func TestCloseShutsDownAndLeavesNothing(t *testing.T) {
	o := options(t, "")
	p, provider := start(t, o)
	child := childOf(t, provider)
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Errorf("a second close: %v", err)
	}
	if _, err := os.Stat(filepath.Join(o.RuntimeDir, "was-shut-down")); err != nil {
		t.Error("the plugin was not shut down")
	}
	awaitGone(t, child)
	if left, _ := filepath.Glob(filepath.Join(o.RuntimeDir, "plugin-dir*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestClosingAPluginThatDoesNotEndKillsIt(t *testing.T) {
	for _, script := range []string{"slow-shutdown", "freeze"} {
		t.Run(script, func(t *testing.T) {
			o := options(t, script)
			o.StopGrace = 300 * time.Millisecond
			p, provider := start(t, o)
			child := childOf(t, provider)
			if script == "freeze" {
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				_, _ = provider.List(ctx, "freeze", "")
				cancel()
			}
			if err := p.Close(t.Context()); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Errorf("error is %v", err)
			}
			awaitGone(t, child)
		})
	}
}

func TestAPluginThatIsKilledTakesItsChildrenAlong(t *testing.T) {
	p, provider := start(t, options(t, ""))
	child := childOf(t, provider)
	_ = syscall.Kill(p.PID(), syscall.SIGKILL)
	<-p.Done()
	awaitGone(t, child)
}

func TestADigestIsReadOnceForAnUnchangedFile(t *testing.T) {
	sums := &countingSums{}
	o := options(t, "")
	o.SHA256, o.Sums = "00", sums
	_, err := launch.Start(t.Context(), o)
	_, rest, _ := strings.Cut(err.Error(), "its SHA-256 is ")
	o.SHA256 = strings.ToUpper(rest[:64])
	start(t, o)
	if sums.puts != 1 {
		t.Errorf("the file was read %d times", sums.puts)
	}
}

type countingSums struct {
	launch.MemorySums
	puts int
}

func (c *countingSums) Put(id launch.FileID, sum string) { c.puts++; c.MemorySums.Put(id, sum) }

func childOf(t *testing.T, provider *kernel.Client) int {
	t.Helper()
	list, err := provider.List(t.Context(), "child", "")
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(list[0].CommandLine)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// awaitGone waits for a process that is not ours, and so tells nobody here of its end.
func awaitGone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if dead(pid) {
			return
		}
	}
	t.Errorf("process %d is still there", pid)
}

func dead(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) {
		return syscall.Kill(pid, 0) != nil
	}
	return bytes.Contains(stat, []byte(") Z "))
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
