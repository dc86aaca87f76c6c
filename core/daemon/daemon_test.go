package daemon

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/lock"
)

// TestMain is the daemon when the test starts itself: it greets each connection and ends after the second, complaining.
func TestMain(m *testing.M) {
	if os.Getenv("DAEMON_TEST") == "" {
		os.Exit(m.Run())
	}
	in, err := inherit()
	if err != nil {
		panic(err)
	}
	if path := os.Getenv("DAEMON_TEST_LOG"); path != "" {
		talk(path)
	}
	listener := in.Listeners[0]
	finalize()
	if os.Getenv("DAEMON_TEST_HELD") != "" && !in.Released() {
		os.Exit(4)
	}
	for range 2 {
		conn, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(conn, "hello")
		_ = conn.Close()
	}
	_, _ = io.WriteString(os.Stderr, "an old story\nthe disk is on fire\n")
	os.Exit(3)
}

// inherit is Inherit, or what is in its place in a daemon that waits in reserve.
func inherit() (*Inherited, error) {
	if dir := os.Getenv("DAEMON_TEST_RESERVE"); dir != "" {
		return fromReserve(dir)
	}
	return Inherit(1)
}

// finalize closes files that nobody refers to any more.
func finalize() {
	done := make(chan struct{})
	runtime.SetFinalizer(new([64]byte), func(*[64]byte) { close(done) })
	for {
		runtime.GC()
		select {
		case <-done:
			return
		default:
		}
	}
}

func start(t *testing.T) (p *Process, socket, life string) { return startHeld(t, false) }

func startHeld(t *testing.T, isHeld bool) (p *Process, socket, life string) {
	dir := t.TempDir()
	socket, life = filepath.Join(dir, "socket"), filepath.Join(dir, "life")
	held, err := lock.Try(life)
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"DAEMON_TEST=1"}
	if isHeld {
		env = append(env, "DAEMON_TEST_HELD=1")
	}
	p, err = Start(Spec{Program: []string{os.Args[0]}, Sockets: []string{socket}, Life: held,
		LogPath: filepath.Join(dir, "log"), Env: env, Held: isHeld})
	if err != nil {
		t.Fatal(err)
	}
	return p, socket, life
}

func greet(t *testing.T, socket string) string {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

func TestADaemonAnswersFromTheFirstMomentAndHoldsItsLifeLock(t *testing.T) {
	p, socket, life := start(t)
	if alive, err := lock.Held(life); err != nil || !alive {
		t.Errorf("alive: %t, %v", alive, err)
	}
	if got := greet(t, socket); got != "hello" {
		t.Errorf("got %q", got)
	}
	if alive, err := lock.Held(life); err != nil || !alive {
		t.Errorf("alive while it runs: %t, %v", alive, err)
	}
	if got := greet(t, socket); got != "hello" {
		t.Errorf("got %q", got)
	}
	if err := p.Wait(t.Context()); err == nil || err.Error() != "exit status 3" {
		t.Errorf("ended with %v", err)
	}
	if alive, err := lock.Held(life); err != nil || alive {
		t.Errorf("alive after the end: %t, %v", alive, err)
	}
	if words := p.LastWords(); !strings.HasSuffix(words, "the disk is on fire") {
		t.Errorf("last words %q", words)
	}
}

func TestAHeldDaemonBeginsWhenItIsReleased(t *testing.T) {
	p, socket, _ := startHeld(t, true)
	conn, err := net.Dial("unix", socket) // who comes early is answered later
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := p.Release(); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if all, err := io.ReadAll(conn); err != nil || string(all) != "hello" {
		t.Errorf("got %q, %v", all, err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
}

func TestAHeldDaemonEndsIfItIsNotWanted(t *testing.T) {
	p, _, life := startHeld(t, true)
	if err := p.Withdraw(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(t.Context()); err == nil || err.Error() != "exit status 4" {
		t.Errorf("ended with %v", err)
	}
	if alive, err := lock.Held(life); err != nil || alive {
		t.Errorf("alive: %t, %v", alive, err)
	}
}

func TestAHeldDaemonThatDiedIsFoundOutByWhoWaitsForIt(t *testing.T) {
	p, _, _ := startHeld(t, true)
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if err := p.Release(); err != nil {
		t.Error(err)
	}
}

func TestKillFreesTheLifeLock(t *testing.T) {
	p, _, life := start(t)
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := lock.AwaitFree(t.Context(), life); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
}

func TestAProgramThatIsNotThereLeavesTheLockFree(t *testing.T) {
	dir := t.TempDir()
	life := filepath.Join(dir, "life")
	held, err := lock.Try(life)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Start(Spec{Program: []string{filepath.Join(dir, "missing")}, Life: held, LogPath: filepath.Join(dir, "log")}); err == nil {
		t.Error("no error")
	}
	if alive, err := lock.Held(life); err != nil || alive {
		t.Errorf("alive: %t, %v", alive, err)
	}
}
