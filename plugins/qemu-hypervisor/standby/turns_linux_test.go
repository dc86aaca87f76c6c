package standby

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/sdk/rendezvous"
)

func TestOfManyAFewStartAtATime(t *testing.T) {
	turns, now := newTurns(2), time.Now()
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		turns.add(asking{request: request{Name: name}}, now)
	}
	next := func(now time.Time) string {
		a, _ := turns.next(now)
		return a.request.Name
	}
	expect := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s it is %q's turn, not %q's", what, got, want)
		}
	}
	expect("at first", next(now), "a")
	ended := turns.begun()
	expect("beside one that starts", next(now), "b")
	turns.begun()
	expect("beside two", next(now), "")
	ended()
	ended() // which counts once
	<-turns.wake
	expect("after the end of one", next(now), "c")
	turns.begun()
	expect("beside two again", next(now), "")
	<-turns.wake // by then one must have started
	expect("after a while", next(now), "d")
	turns.begun()
	turns.begun()
	expect("of one who has waited long", next(now.Add(turnPatience)), "e")
	expect("when nobody waits", next(now.Add(time.Hour)), "")
}

func TestWhoWaitsForATurnIsTurnedAwayAtTheEnd(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range pair {
		file := os.NewFile(uintptr(fd), "end")
		conn, err := net.FileConn(file)
		if err = errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
		ends[i] = conn.(*net.UnixConn)
	}
	defer ends[1].Close()
	turns := newTurns(0)
	turns.add(asking{conn: ends[0]}, time.Now())
	if _, ok := turns.next(time.Now()); ok {
		t.Error("it has a turn where nobody has")
	}
	turns.close()
	var m made
	if _, err := rendezvous.Receive(ends[1], &m); err == nil {
		t.Error("it is answered")
	}
}
