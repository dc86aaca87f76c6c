// Package hostile has guests that lie, on the real way to the host: their frames go through the hypervisor plugin's multiplexer and its hybrid vsock socket to the
// real sandbox, agent client, relays and log. What it asserts is what the container's user notices: the process that looks after the sandbox lives, its memory is
// bounded, the container ends with one readable line, and nothing is left. There is no VM: this process is both sides.
package hostile

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/core/agent"
	"github.com/vzctl/vzctl/core/containerlog"
	"github.com/vzctl/vzctl/core/sandbox"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/vsock"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/plugintest"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

// patience is how long a case may take; nothing here measures time.
const patience = 2 * time.Minute

// memoryBound is how much the process may take for all that one guest does, both sides of it. A guest has 256 streams of 1 MiB, but no host needs them all for it.
const memoryBound = 192 << 20

// world is the host of one such guest.
type world struct {
	t       *testing.T
	guest   *liar
	dir     string
	log     *containerlog.Writer
	logPath string
	spec    sandbox.Spec
	memory  func() uint64 // bytes taken since the beginning
	logged  strings.Builder
	logging sync.Mutex
}

func newWorld(t *testing.T, guest *liar) *world {
	t.Helper()
	guest.exits = make(chan *guestv1.Exit, 1)
	w := &world{t: t, guest: guest, dir: plugintest.RuntimeDir(t)}
	w.logPath = filepath.Join(t.TempDir(), "log")
	var err error
	if w.log, err = containerlog.Create(t.Context(), w.logPath, containerlog.Limits{MaxBytes: containerlog.Unlimited}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.log.Close() })
	w.spec = sandbox.Spec{ID: "box", ContainerID: "web", Hostname: "web", RuntimeDir: w.dir, StdinOpen: true,
		Lower: []rootfs.Disk{{Path: "/base", FileSystem: "ext4", ReadOnly: true}}, Timed: true}
	runtime.GC()
	before := memory()
	w.memory = func() uint64 { return memory() - min(before, memory()) }
	return w
}

// memory is what the process has ever had of the system at a time.
func memory() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.Sys
}

// Write takes what the host logs of itself.
func (w *world) Write(p []byte) (int, error) {
	w.logging.Lock()
	defer w.logging.Unlock()
	return w.logged.Write(p)
}

func (w *world) environment() sandbox.Environment {
	return sandbox.Environment{
		StartHypervisor: func(context.Context) (sandbox.Hypervisor, error) { return newMachine(w.dir, w.guest) },
		Dial: func(ctx context.Context, path string, _ bool) (sandbox.Guest, error) {
			client, err := agent.Dial(ctx, path, "test")
			if err != nil {
				return nil, err
			}
			return client, nil
		},
		Log: func(stream int, p []byte) error {
			_, err := w.log.Write(containerlog.Stream(stream), p)
			return err
		},
		Released:    func(context.Context) error { return nil },
		OutOfMemory: func() {},
		Logger:      hclog.New(&hclog.LoggerOptions{Output: w, Level: hclog.Info}),
	}
}

// begin starts the sandbox.
func (w *world) begin() (*sandbox.Sandbox, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	s := sandbox.New(w.spec, w.environment())
	return s, s.Start(ctx)
}

// run starts the sandbox and waits for its end.
func (w *world) run() sandbox.Outcome {
	w.t.Helper()
	s, err := w.begin()
	if err != nil {
		w.t.Fatalf("start: %v", err)
	}
	return w.wait(s)
}

func (w *world) wait(s *sandbox.Sandbox) sandbox.Outcome {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	outcome, err := s.Wait(ctx)
	if err != nil {
		w.t.Fatal("the sandbox does not end:", err)
	}
	return outcome
}

// stop ends a sandbox whose guest does not.
func (w *world) stop(s *sandbox.Sandbox) sandbox.Outcome {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	if err := s.Stop(ctx, 9, 0); err != nil {
		w.t.Fatal("the sandbox does not stop:", err)
	}
	return w.wait(s)
}

// holds checks what must hold whatever a guest does.
func (w *world) holds(texts ...string) {
	w.t.Helper()
	if taken := w.memory(); taken > memoryBound {
		w.t.Errorf("the host took %d MiB, at most %d", taken>>20, memoryBound>>20)
	}
	for _, text := range texts {
		if problem := unfit(text); problem != "" {
			w.t.Errorf("what the user sees %s: %.300q", problem, text)
		}
	}
	w.logging.Lock()
	defer w.logging.Unlock()
	if n := w.logged.Len(); n > 64<<10 {
		w.t.Errorf("the guest filled the host's own log with %d bytes", n)
	}
	for line := range strings.Lines(w.logged.String()) {
		if problem := unfit(strings.TrimSuffix(line, "\n")); problem != "" {
			w.t.Errorf("a line of the host's log %s: %.300q", problem, line)
		}
	}
	if left, err := os.ReadDir(w.dir); err != nil || len(left) > 0 {
		w.t.Errorf("left are %v, %v", left, err)
	}
}

// unfit says what is wrong with a text that is shown to somebody.
func unfit(text string) string {
	switch {
	case len(text) > 8<<10:
		return fmt.Sprintf("has %d bytes", len(text))
	case !utf8.ValidString(text):
		return "is no text"
	case strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }):
		return "steers terminals, or has several lines"
	}
	return ""
}

// machine is a hypervisor plugin with the real transport, and the liar in place of a VM.
type machine struct {
	hypervisor.Hypervisor
	path   string
	server *vsock.Server
	guest  *liar
	ctx    context.Context
	stop   context.CancelFunc
	work   sync.WaitGroup
	done   chan struct{}
	ended  chan struct{} // when the VM has ended
	end    sync.Once
}

func newMachine(dir string, guest *liar) (*machine, error) {
	m := &machine{path: filepath.Join(dir, "vsock"), guest: guest, done: make(chan struct{}), ended: make(chan struct{})}
	m.ctx, m.stop = context.WithCancel(context.Background())
	uplink := vsock.NewUplink()
	var err error
	if m.server, err = vsock.Listen(m.path, uplink); err != nil {
		return nil, err
	}
	serial, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "serial"), Net: "unix"})
	if err != nil {
		return nil, err
	}
	context.AfterFunc(m.ctx, func() { serial.Close() })
	m.work.Go(func() {
		for { // QEMU's end of the port: one host after another
			conn, err := serial.Accept()
			if err != nil {
				return
			}
			ctx, cancel := context.WithCancel(m.ctx)
			context.AfterFunc(ctx, func() { conn.Close() })
			guest.serve(ctx, conn)
			cancel()
		}
	})
	m.work.Go(func() {
		connect := func(ctx context.Context) (io.ReadWriteCloser, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", serial.Addr().String())
		}
		uplink.Run(m.ctx, connect, m.server.Incoming)
	})
	return m, nil
}

func (m *machine) Info() sdk.Info        { return sdk.Info{Name: "liar"} }
func (m *machine) Done() <-chan struct{} { return m.done }
func (m *machine) LastWords() string     { return "" }
func (m *machine) Close(context.Context) error {
	m.stop()
	err := m.server.Close()
	m.work.Wait()
	return err
}

func (m *machine) Create(context.Context, string, hypervisor.Spec) (hypervisor.VM, error) {
	return hypervisor.VM{ID: "box", State: hypervisor.Created, VsockPath: m.path}, nil
}

func (m *machine) Start(context.Context, string) (hypervisor.VM, error) {
	return hypervisor.VM{ID: "box", State: hypervisor.Running, VsockPath: m.path}, nil
}

func (m *machine) Stop(context.Context, string, hypervisor.StopMode) (hypervisor.VM, error) {
	m.end.Do(func() { close(m.ended); m.stop() })
	return hypervisor.VM{State: hypervisor.Stopped}, nil
}

func (m *machine) Delete(context.Context, string, string) error { return nil }

func (m *machine) Watch(ctx context.Context, _ string, event func(hypervisor.VM)) error {
	event(hypervisor.VM{State: hypervisor.Running})
	select {
	case <-m.ended:
		event(hypervisor.VM{State: hypervisor.Stopped})
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// shortPatience is that of a user with a guest that would go on for as long as it is let.
const shortPatience = 3 * time.Second

// beginWithin starts the sandbox, and gives up after a while.
func (w *world) beginWithin(t *testing.T, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return sandbox.New(w.spec, w.environment()).Start(ctx)
}
