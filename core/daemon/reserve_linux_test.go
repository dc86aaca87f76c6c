package daemon

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/core/reserve"
)

// reserveKey is that of the daemons of these tests.
func reserveKey() string { return reserve.Key("test") }

// fromReserve is the beginning of a daemon that waits in reserve.
func fromReserve(dir string) (*Inherited, error) {
	claim, err := Inherit(0)
	if err != nil {
		return nil, err
	}
	waiter, err := reserve.At(dir).Open(reserveKey(), strings.Repeat("1d", 16))
	if err != nil {
		return nil, err
	}
	conn, err := waiter.Wait(context.Background(), time.Minute)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	if os.Getenv("DAEMON_TEST_RESERVE_UNFIT") != "" {
		cancel()
	}
	defer cancel()
	in, err := Receive(ctx, conn, 1, NewLog(filepath.Join(dir, "its.log")))
	if err != nil {
		return nil, err
	}
	_, _ = io.WriteString(os.Stdout, "for "+os.Getenv("WHOM")+" "+os.Getenv("DAEMON_TEST")+"\n")
	return in, claim.Leave()
}

// sendOne has a daemon from the reserve be one with a socket and a life lock, and a log beside it. env is added to what it begins with.
func sendOne(t *testing.T, env ...string) (p *Process, dir string) {
	t.Helper()
	taken, _, dir := takeOne(t, env...)
	life, err := lock.Try(filepath.Join(dir, "life"))
	if err != nil {
		t.Fatal(err)
	}
	p, err = Send(taken, Spec{Life: life, LogPath: filepath.Join(dir, "its.log"), Sockets: []string{filepath.Join(dir, "socket")}, Env: []string{"DAEMON_TEST_HELD=1", "=no name", "WHOM=you\xff"}})
	if err != nil {
		t.Fatal(err)
	}
	return p, dir
}

// takeOne returns one that was taken, and as it was started.
func takeOne(t *testing.T, env ...string) (taken *reserve.Taken, made *Process, dir string) {
	t.Helper()
	dir = t.TempDir()
	place := reserve.At(dir)
	claim, err := place.Claim(t.Context(), reserveKey(), nil)
	if err != nil || claim == nil {
		t.Fatal(claim, err)
	}
	made, err = Start(Spec{Program: []string{os.Args[0]}, Life: claim, LogPath: filepath.Join(dir, "reserve.log"), Env: append(env, "DAEMON_TEST=1", "DAEMON_TEST_HELD=1", "DAEMON_TEST_RESERVE="+dir)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = made.Kill() })
	for deadline := time.Now().Add(time.Minute); taken == nil; time.Sleep(time.Millisecond) { // nobody tells
		if time.Now().After(deadline) {
			t.Fatal("nobody waits")
		}
		taken = place.Take(reserveKey(), os.Args[0], nil)
	}
	if taken.PID != made.PID() {
		t.Errorf("process %d was taken, and %d waits", taken.PID, made.PID())
	}
	return taken, made, dir
}

func TestADaemonFromTheReserveIsAsOneThatWasStarted(t *testing.T) {
	p, dir := sendOne(t)
	life := filepath.Join(dir, "life")
	if alive, err := lock.Held(life); err != nil || !alive {
		t.Errorf("alive: %t, %v", alive, err)
	}
	if !p.Ready() {
		t.Error("it is not ready")
	}
	if err := p.Release(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if alive, err := lock.Held(life); err != nil || !alive {
			t.Errorf("alive while it runs: %t, %v", alive, err)
		}
		if got := greet(t, filepath.Join(dir, "socket")); got != "hello" {
			t.Errorf("got %q", got)
		}
	}
	if err := p.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if err := lock.AwaitFree(t.Context(), life); err != nil {
		t.Errorf("alive after its end: %v", err)
	}
	if words := p.LastWords(); words != "for you\xff ; an old story; the disk is on fire" {
		t.Errorf("last words %q", words)
	}
	if held, err := lock.Held(filepath.Join(dir, reserveKey()+".lock")); err != nil || held {
		t.Errorf("it keeps the place of the next: %t, %v", held, err)
	}
}

func TestADaemonFromTheReserveEndsWhenItIsWithdrawn(t *testing.T) {
	p, dir := sendOne(t)
	if err := p.Withdraw(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := lock.AwaitFree(t.Context(), filepath.Join(dir, "life")); err != nil {
		t.Error(err)
	}
}

func TestADaemonFromTheReserveEndsWithItsStarterUntilItIsReleased(t *testing.T) {
	p, dir := sendOne(t)
	if err := p.hold.(connection).Close(); err != nil { // as the end of the starter does
		t.Fatal(err)
	}
	if err := lock.AwaitFree(t.Context(), filepath.Join(dir, "life")); err != nil {
		t.Error(err)
	}
	p, dir = sendOne(t)
	if !p.Ready() {
		t.Error("it is not ready")
	}
	if err := p.Release(); err != nil {
		t.Fatal(err)
	}
	if err := p.hold.(connection).Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := greet(t, filepath.Join(dir, "socket")); got != "hello" {
			t.Errorf("got %q", got)
		}
	}
}

func TestADaemonFromTheReserveIsKilled(t *testing.T) {
	p, dir := sendOne(t)
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if err := lock.AwaitFree(t.Context(), filepath.Join(dir, "life")); err != nil {
		t.Error(err)
	}
	if err := p.Release(); err != nil { // as of one that has ended otherwise
		t.Error(err)
	}
	if err := p.Kill(); err != nil {
		t.Error(err)
	}
}

func TestADaemonFromTheReserveThatCannotBeUsedHasEnded(t *testing.T) {
	ended := func(t *testing.T, dir string) {
		t.Helper()
		if err := lock.AwaitFree(t.Context(), filepath.Join(dir, "life")); err != nil {
			t.Error(err) // another cannot take its place
		}
	}
	t.Run("it is not fit any more", func(t *testing.T) {
		p, dir := sendOne(t, "DAEMON_TEST_RESERVE_UNFIT=1")
		if p.Ready() {
			t.Error("it is ready")
		}
		if err := p.Withdraw(t.Context()); err != nil {
			t.Error(err)
		}
		ended(t, dir)
	})
	t.Run("it stands still", func(t *testing.T) {
		taken, _, dir := takeOne(t)
		if err := syscall.Kill(taken.PID, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		life, err := lock.Try(filepath.Join(dir, "life"))
		if err != nil {
			t.Fatal(err)
		}
		p, err := Send(taken, Spec{Life: life, LogPath: filepath.Join(dir, "its.log")})
		if err != nil {
			t.Fatal(err)
		}
		if p.Ready() {
			t.Error("it is ready")
		}
		ended(t, dir)
	})
	t.Run("it could not be sent", func(t *testing.T) {
		taken, made, dir := takeOne(t)
		life, err := lock.Try(filepath.Join(dir, "life"))
		if err != nil {
			t.Fatal(err)
		}
		if p, err := Send(taken, Spec{Life: life, LogPath: filepath.Join(dir, "no", "log")}); err == nil {
			t.Errorf("it was sent: %v", p)
		}
		<-made.Done()
		ended(t, dir)
	})
}
