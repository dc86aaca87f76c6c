package stdio

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"
)

// freed fails the test if a stream is not given back.
func freed(t *testing.T, free <-chan struct{}) {
	t.Helper()
	select {
	case <-free:
	case <-time.After(20 * time.Second):
		t.Fatal("the stream is not given back")
	}
}

func TestASuspendedOutputLosesAndDoublesNothing(t *testing.T) {
	for name, reads := range map[string]bool{"a host that reads": true, "a host that does not read before": false} {
		t.Run(name, func(t *testing.T) {
			p := pipes(t)
			const numbers = 1 << 20
			go count(p.Far()[1], numbers)
			guest, host := connection(t)
			done := serve(t, p.Stdout, guest)
			var got []byte
			if reads {
				got = make([]byte, 256<<10)
				if _, err := io.ReadFull(host, got); err != nil {
					t.Fatal(err)
				}
			}
			freed(t, p.Stdout.Suspend())
			<-done
			rest, err := io.ReadAll(host)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, rest...)
			if len(got) == 4*numbers {
				t.Fatal("nothing was held back")
			}
			guest, host = connection(t)
			serve(t, p.Stdout, guest)
			rest, err = io.ReadAll(host)
			if err != nil {
				t.Fatal(err)
			}
			inOrder(t, append(got, rest...), numbers)
		})
	}
}

func TestMuchOutputIsSuspendedAtAFrame(t *testing.T) {
	m, p := newMuxed(t), pipes(t)
	host, done := m.stream(t, p.Stdout)
	const numbers = 16 << 20
	go count(p.Far()[1], numbers)
	got := make([]byte, 8<<20)
	if _, err := io.ReadFull(host, got); err != nil {
		t.Fatal(err)
	}
	free := p.Stdout.Suspend()
	rest, err := io.ReadAll(host)
	if err != nil {
		t.Fatal(err)
	}
	freed(t, free)
	<-done
	got = append(got, rest...)
	_ = m.host.Close()
	m.connect(t)
	host, done = m.stream(t, p.Stdout)
	rest, err = io.ReadAll(host)
	if err != nil {
		t.Fatal(err)
	}
	<-done
	inOrder(t, append(got, rest...), numbers)
}

func inOrder(t *testing.T, got []byte, numbers int) {
	t.Helper()
	if len(got) != 4*numbers {
		t.Fatalf("%d bytes instead of %d", len(got), 4*numbers)
	}
	for i := range numbers {
		if n := binary.BigEndian.Uint32(got[4*i:]); n != uint32(i) {
			t.Fatalf("%d where %d should be", n, i)
		}
	}
}

func TestASuspendedInputKeepsWhatTheProcessHasNotRead(t *testing.T) {
	for name, ends := range map[string]bool{"that goes on": false, "that the host has ended": true} {
		t.Run(name, func(t *testing.T) {
			p := pipes(t)
			guest, host := connection(t)
			done := serve(t, p.Stdin, guest)
			sent := bytes.Repeat([]byte("0123456789abcdef"), 16<<10) // more than the pipe holds
			wrote := make(chan error, 1)
			go func() {
				_, err := host.Write(sent)
				if err == nil && ends {
					err = host.CloseWrite()
				}
				wrote <- err
			}()
			freed(t, p.Stdin.Suspend(Border{Bytes: uint64(len(sent)), Ended: ends}))
			<-done
			if err := <-wrote; err != nil {
				t.Fatal(err)
			}
			guest, host = connection(t)
			serve(t, p.Stdin, guest)
			if !ends {
				sent = append(sent, "more"...)
				if _, err := host.Write([]byte("more")); err != nil {
					t.Fatal(err)
				}
				if err := host.CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			got, err := io.ReadAll(p.Far()[0])
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("the process read %d bytes of %d, %v", len(got), len(sent), err)
			}
		})
	}
}

func TestASilentStreamIsSuspendedAtOnce(t *testing.T) {
	p := pipes(t)
	var ends []*net.UnixConn
	for _, s := range []interface {
		Claim(Conn) error
		Serve(Conn)
	}{p.Stdin, p.Stdout, p.Stderr} {
		guest, host := connection(t)
		ends = append(ends, host)
		serve(t, s, guest)
	}
	freed(t, p.Stdin.Suspend(Border{}))
	freed(t, p.Stdout.Suspend())
	freed(t, p.Stderr.Suspend())
	for i, host := range ends {
		if rest, err := io.ReadAll(host); err != nil || len(rest) > 0 {
			t.Errorf("stream %d gave %q, %v", i, rest, err)
		}
	}
	freed(t, p.Stdout.Suspend()) // which nobody has
}

func TestAStreamWhoseBorderNeverComesIsBroken(t *testing.T) {
	p := pipes(t)
	guest, _ := connection(t)
	serve(t, p.Stdin, guest)
	free := p.Stdin.Suspend(Border{Bytes: 10})
	p.Stdin.Break()
	freed(t, free)
}
