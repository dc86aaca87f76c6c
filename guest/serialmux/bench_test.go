package serialmux

import (
	"context"
	"io"
	"sync"
	"testing"
)

// benchPair is a session over a pair of sockets, with an echo service.
func benchPair(b *testing.B) (*Session, *Guest) {
	here, there := socketPair(b)
	once := make(chan io.ReadWriteCloser, 1)
	once <- there
	guest := NewGuest(func(ctx context.Context) (io.ReadWriteCloser, error) {
		select {
		case pipe := <-once:
			return pipe, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	listener, err := guest.Listen(echoPort)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = guest.Serve(ctx) })
	running.Go(func() { serveEcho(listener) })
	session, err := Host(ctx, here, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = session.Close()
		_ = listener.Close()
		cancel()
		running.Wait()
	})
	return session, guest
}

func BenchmarkOneDirection(b *testing.B) {
	session, guest := benchPair(b)
	listener, err := guest.Listen(slowPort)
	if err != nil {
		b.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	})
	conn, err := session.Dial(context.Background(), slowPort)
	if err != nil {
		b.Fatal(err)
	}
	block := make([]byte, 64<<10)
	b.SetBytes(int64(len(block)))
	b.ResetTimer()
	for b.Loop() {
		if _, err := conn.Write(block); err != nil {
			b.Fatal(err)
		}
	}
	_ = conn.CloseWrite()
	reading.Wait()
}

func BenchmarkRoundTrip(b *testing.B) {
	session, _ := benchPair(b)
	conn, err := session.Dial(context.Background(), echoPort)
	if err != nil {
		b.Fatal(err)
	}
	block := make([]byte, 64)
	for b.Loop() {
		if _, err := conn.Write(block); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, block); err != nil {
			b.Fatal(err)
		}
	}
}
