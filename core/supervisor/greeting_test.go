package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/core/agent"
	"github.com/vzctl/vzctl/core/store"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/kernel"
	"github.com/vzctl/vzctl/sdk/plugintest"
)

// able is what a guest of this release says that it can do.
var able = []string{"begin", "run", "brief", "brief-run", "sockets", "io-limits", "upper-journal"}

// talker is a guest behind a hybrid vsock socket that says what it can do.
type talker struct {
	guestv1.UnimplementedAgentServer
	net.Listener
	says  *guestv1.HelloResponse
	asked atomic.Int32
}

func (g *talker) Hello(context.Context, *guestv1.HelloRequest) (*guestv1.HelloResponse, error) {
	g.asked.Add(1)
	return g.says, nil
}

// Accept does the handshake of the hypervisor plugin.
func (g *talker) Accept() (net.Conn, error) {
	conn, err := g.Listener.Accept()
	for b := [1]byte{}; err == nil && b[0] != '\n'; {
		_, err = io.ReadFull(conn, b[:])
	}
	if err == nil {
		_, err = io.WriteString(conn, "OK 1\n")
	}
	return conn, err
}

// greeting is a store, a kernel and an init image, and a guest that is booted from them.
type greeting struct {
	t     *testing.T
	store *store.Store
	guest *talker
	vsock string
	box   store.Sandbox
}

func newGreeting(t *testing.T) *greeting {
	dir := t.TempDir()
	g := &greeting{t: t, vsock: filepath.Join(plugintest.RuntimeDir(t), "vsock"),
		box:   store.Sandbox{InitrdPath: filepath.Join(dir, "initrd"), Kernel: kernel.Kernel{Path: filepath.Join(dir, "kernel")}},
		guest: &talker{says: &guestv1.HelloResponse{Version: "1", ProtocolMin: 1, ProtocolMax: 1, Features: able, UptimeNanoseconds: 7}}}
	var err error
	if g.store, err = store.Open(filepath.Join(dir, "root")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{g.box.InitrdPath, g.box.Kernel.Path} {
		if err := os.WriteFile(path, []byte("first"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if g.guest.Listener, err = net.Listen("unix", g.vsock); err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	guestv1.RegisterAgentServer(server, g.guest)
	go func() { _ = server.Serve(g.guest) }()
	t.Cleanup(server.Stop)
	return g
}

// begin is a supervision whose start begins long after all files were written.
func (g *greeting) begin() *supervision {
	s := newSupervision(g.store, "", g.box, store.Container{}, hclog.NewNullLogger())
	s.opened = time.Now().Add(time.Hour)
	return s
}

// dial reports whether the guest was asked what it can do.
func (g *greeting) dial(s *supervision, copied bool) (asked bool) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), 30*time.Second)
	defer cancel()
	before := g.guest.asked.Load()
	client, err := s.dial(ctx, g.vsock, copied)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { client.Close() })
	asked = g.guest.asked.Load() > before
	for _, feature := range g.guest.says.Features {
		if !client.Offers(feature) {
			g.t.Errorf("what it offers is not known: %q", feature)
		}
	}
	if _, err := client.Answers(ctx); err != nil {
		g.t.Errorf("it does not answer calls: %v", err)
	}
	return asked
}

// start is a whole start.
func (g *greeting) start(copied bool) (asked bool) {
	g.t.Helper()
	s := g.begin()
	asked = g.dial(s, copied)
	s.noteGreeting(nil)
	return asked
}

// entry is the file in which the greeting is kept.
func (g *greeting) entry() string {
	g.t.Helper()
	all, err := filepath.Glob(filepath.Join(g.store.Paths().Answers(), "*"))
	if err != nil || len(all) != 1 {
		g.t.Fatalf("kept are %q, %v", all, err)
	}
	return all[0]
}

func TestTheGuestOfACopyIsNotAskedWhatOneLikeItHasSaid(t *testing.T) {
	for name, copied := range map[string]bool{"to one that was booted": false, "to a copy": true} {
		t.Run(name, func(t *testing.T) {
			g := newGreeting(t)
			if !g.start(copied) {
				t.Error("nobody has asked the first")
			}
			if g.start(true) {
				t.Error("a copy was asked what is known")
			}
			if !g.start(false) {
				t.Error("one that was booted was not asked, and its timeline has no boot")
			}
		})
	}
}

func TestTheGuestOfACopyIsAskedIfWhatIsKeptIsNotGood(t *testing.T) {
	replace := func(path string) error {
		return errors.Join(os.WriteFile(path+".new", []byte("other"), 0o600), os.Rename(path+".new", path))
	}
	// say changes the greeting in the entry, and nothing else.
	say := func(answer any) func(g *greeting) error {
		return func(g *greeting) error {
			kept := map[string]any{}
			text, err := os.ReadFile(g.entry())
			if err == nil {
				err = json.Unmarshal(text, &kept)
			}
			kept["answer"] = answer
			if text, _ = json.Marshal(kept); err == nil {
				err = os.WriteFile(g.entry(), text, 0o600)
			}
			return err
		}
	}
	entry := func(text string) func(g *greeting) error {
		return func(g *greeting) error { return os.WriteFile(g.entry(), []byte(text), 0o600) }
	}
	for name, damage := range map[string]func(g *greeting) error{
		"the init image is replaced":  func(g *greeting) error { return replace(g.box.InitrdPath) },
		"the kernel is replaced":      func(g *greeting) error { return replace(g.box.Kernel.Path) },
		"another kernel":              func(g *greeting) error { g.box.Kernel.Path += "2"; return os.WriteFile(g.box.Kernel.Path, nil, 0o600) },
		"it was removed":              func(g *greeting) error { return os.Remove(g.entry()) },
		"it is empty":                 entry(""),
		"it is cut":                   entry(`{"question":["greeting"`),
		"it is another's":             entry(`{"question":["info","hypervisor"],"files":[],"answer":{}}`),
		"it has no answer":            say(nil),
		"its answer is of other kind": say([]int{1}),
		"its answer is empty":         say(map[string]any{}),
		"an ability is missing":       say(agent.Greeting{Version: "1", ProtocolMin: 1, ProtocolMax: 1, Features: able[1:]}),
		"a later protocol":            say(agent.Greeting{Version: "9", ProtocolMin: 7, ProtocolMax: 9, Features: able}),
		"no protocol":                 say(agent.Greeting{Version: "1", Features: able}),
	} {
		t.Run(name, func(t *testing.T) {
			g := newGreeting(t)
			g.start(false)
			if err := damage(g); err != nil {
				t.Fatal(err)
			}
			if !g.start(true) {
				t.Error("it was not asked")
			}
			if g.start(true) {
				t.Error("what it has said was not kept in place of what was there")
			}
		})
	}
}

func TestAnOldGuestIsAskedAtEachStart(t *testing.T) {
	g := newGreeting(t)
	g.guest.says.Features = able[:3]
	for range 3 {
		if !g.start(true) {
			t.Error("it was not asked")
		}
	}
}

func TestWhatIsSaidAgainIsNotWrittenAgain(t *testing.T) {
	g := newGreeting(t)
	g.start(false)
	before, err := os.Stat(g.entry())
	if err != nil {
		t.Fatal(err)
	}
	g.start(false)
	if after, err := os.Stat(g.entry()); err != nil || !os.SameFile(before, after) {
		t.Errorf("it was replaced, or %v", err)
	}
}

func TestAGreetingIsNotKept(t *testing.T) {
	for name, test := range map[string]struct {
		change func(s *supervision)
		err    error
	}{
		"of a saved run":                      {func(s *supervision) { s.container.Run = &store.Run{Restore: true} }, nil},
		"while the init image may be written": {func(s *supervision) { s.opened = time.Now() }, nil},
		"of a start that failed":              {func(*supervision) {}, errors.New("no luck")},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGreeting(t)
			s := g.begin()
			test.change(s)
			g.dial(s, false)
			s.noteGreeting(test.err)
			if !g.start(true) {
				t.Error("it was")
			}
		})
	}
}

func TestAGuestIsAskedAfterAStartThatFailedWithWhatWasKept(t *testing.T) {
	g := newGreeting(t)
	g.start(false)
	s := g.begin()
	if g.dial(s, true) {
		t.Error("it was asked")
	}
	s.noteGreeting(errors.New("no luck"))
	if !g.start(true) {
		t.Error("the next was not asked")
	}
}

func TestAStartThatDialsNobodyKeepsNothing(t *testing.T) {
	g := newGreeting(t)
	s := g.begin()
	s.noteGreeting(errors.New("no VM"))
	if all, err := os.ReadDir(g.store.Paths().Answers()); len(all) > 0 {
		t.Errorf("kept are %q, %v", all, err)
	}
}
