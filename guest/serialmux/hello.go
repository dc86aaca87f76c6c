package serialmux

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"sync"
	"time"
)

// A session opens with three messages, each 8 bytes of magic and one or two nonces:
//
//	host:  helloHost  host nonce
//	guest: helloGuest host nonce, guest nonce
//	host:  helloReady guest nonce
//
// Each side skips whatever comes before the message it waits for. A nonce is made for one session, so what an earlier one left in the pipe cannot
// be taken for it. The host repeats its first message, as the guest may have swallowed it with the rest of an earlier session.
const (
	magicLength = 8
	nonceLength = 16

	helloHost  = "VZMUXH1\n"
	helloGuest = "VZMUXG1\n"
	helloReady = "VZMUXR1\n"

	// helloByte begins every hello and no frame of yamux, whose first byte is its version, 0.
	helloByte = 'V'

	firstRepeat = 20 * time.Millisecond
	lastRepeat  = time.Second
)

// greetGuest is the host's side. It returns once the guest has answered; the reader holds what followed.
func greetGuest(ctx context.Context, pipe io.ReadWriteCloser, reader *bufio.Reader) error {
	stop := context.AfterFunc(ctx, func() { _ = pipe.Close() })
	defer stop()
	mine := newNonce()
	quiet := repeatHello(pipe, append([]byte(helloHost), mine...))
	defer quiet()
	for {
		nonces, err := awaitMagic(reader, helloGuest, 2*nonceLength)
		if err != nil {
			return helloError(ctx, "wait for the guest", err)
		}
		if !bytes.Equal(nonces[:nonceLength], mine) {
			continue
		}
		quiet() // nothing may follow the next message but frames
		if _, err := pipe.Write(append([]byte(helloReady), nonces[nonceLength:]...)); err != nil {
			return helloError(ctx, "answer the guest", err)
		}
		return nil
	}
}

// repeatHello writes the message, and again at growing intervals, until the function it returns is called.
func repeatHello(pipe io.Writer, message []byte) (quiet func()) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for pause := firstRepeat; ; pause = min(2*pause, lastRepeat) {
			if _, err := pipe.Write(message); err != nil {
				return // the reader sees the pipe's end too, and says so
			}
			timer := time.NewTimer(pause)
			select {
			case <-stop:
				timer.Stop()
				return
			case <-timer.C:
			}
		}
	}()
	var once sync.Once
	return func() {
		once.Do(func() { close(stop) })
		<-stopped
	}
}

// greetHost is the guest's side.
func greetHost(ctx context.Context, pipe io.ReadWriteCloser, reader *bufio.Reader) error {
	stop := context.AfterFunc(ctx, func() { _ = pipe.Close() })
	defer stop()
	mine := newNonce()
	var answered []byte
	for {
		magic, nonce, err := awaitEither(reader)
		if err != nil {
			return helloError(ctx, "wait for the host", err)
		}
		switch {
		case magic == helloReady && bytes.Equal(nonce, mine) && answered != nil:
			return nil
		case magic == helloHost && !bytes.Equal(nonce, answered):
			answered = nonce
			answer := append(append([]byte(helloGuest), nonce...), mine...)
			if _, err := pipe.Write(answer); err != nil {
				return helloError(ctx, "answer the host", err)
			}
		}
	}
}

// awaitMagic skips to the magic and returns the length bytes after it.
func awaitMagic(reader *bufio.Reader, magic string, length int) ([]byte, error) {
	for {
		found, err := skipToMagic(reader)
		if err != nil {
			return nil, err
		}
		if found != magic {
			continue
		}
		rest := make([]byte, length)
		_, err = io.ReadFull(reader, rest)
		return rest, err
	}
}

// awaitEither returns the next message that a host sends.
func awaitEither(reader *bufio.Reader) (magic string, nonce []byte, err error) {
	for {
		magic, err := skipToMagic(reader)
		if err != nil {
			return "", nil, err
		}
		if magic != helloHost && magic != helloReady {
			continue
		}
		nonce := make([]byte, nonceLength)
		_, err = io.ReadFull(reader, nonce)
		return magic, nonce, err
	}
}

// skipToMagic reads up to and including the next magic of any kind.
func skipToMagic(reader *bufio.Reader) (string, error) {
	window := make([]byte, 0, magicLength)
	for {
		b, err := reader.ReadByte()
		if err != nil {
			return "", err
		}
		if len(window) == magicLength {
			window = append(window[:0], window[1:]...)
		}
		window = append(window, b)
		switch s := string(window); s {
		case helloHost, helloGuest, helloReady:
			return s, nil
		}
	}
}

func newNonce() []byte {
	nonce := make([]byte, nonceLength)
	_, _ = rand.Read(nonce) // never fails: crypto/rand ends the program instead
	return nonce
}

func helloError(ctx context.Context, step string, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return fmt.Errorf("serialmux: %s: %w", step, err)
}
