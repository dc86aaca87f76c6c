package sandbox

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/vzctl/vzctl/core/agent"
	"github.com/vzctl/vzctl/core/stdio"
	"github.com/vzctl/vzctl/core/steps"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

// streams are connections to a process in the guest. With a terminal there is one for both directions, and it is stdin and stdout.
type streams struct {
	stdin, stdout, stderr net.Conn // stderr is nil with a terminal
}

func (c *streams) close() error {
	var errs []error
	for _, conn := range []net.Conn{c.stdin, c.stdout, c.stderr} {
		if conn != nil {
			if err := conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// openStreams opens all streams of a process at once, of its input only withInput; again says that they were open before.
func openStreams(ctx context.Context, guest Guest, container, process string, terminal, withInput, again bool) (*streams, error) {
	var c streams
	wanted := map[guestv1.StreamKind]*net.Conn{guestv1.StreamKind_STREAM_KIND_TERMINAL: &c.stdout}
	if !terminal {
		wanted = map[guestv1.StreamKind]*net.Conn{
			guestv1.StreamKind_STREAM_KIND_STDOUT: &c.stdout,
			guestv1.StreamKind_STREAM_KIND_STDERR: &c.stderr,
		}
		if withInput {
			wanted[guestv1.StreamKind_STREAM_KIND_STDIN] = &c.stdin
		}
	}
	var (
		wait sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	for kind, conn := range wanted {
		wait.Go(func() {
			opened, err := guest.OpenStream(ctx, &guestv1.StreamRequest{ContainerId: container, ProcessId: process, Kind: kind, Again: again})
			mu.Lock()
			defer mu.Unlock()
			*conn = opened
			if err != nil {
				*conn = nil
				if len(errs) == 0 { // what is wrong with one is wrong with all
					errs = append(errs, err)
				}
			}
		})
	}
	wait.Wait()
	if len(errs) > 0 {
		return nil, errors.Join(append(errs, c.close())...)
	}
	if terminal {
		c.stdin = c.stdout
	}
	return &c, nil
}

// Numbers of the output streams in the log.
const (
	logStdout = 1
	logStderr = 2
)

// streamsStep joins the init process's streams to the log and to whoever is attached.
func (s *Sandbox) streamsStep(needs ...string) steps.Step {
	return steps.Step{Name: "streams", Needs: needs,
		Do: func(ctx context.Context) error {
			if restored := s.spec.Restore; !s.spec.StdinOpen && !s.spec.Terminal || restored != nil && restored.InputEnded {
				if err := s.Stdin.Close(); err != nil {
					return err
				}
			}
			if s.spec.Restore == nil && s.bornEnded() {
				if err := s.Stdin.Open(noInput{}); err != nil {
					return err
				}
			}
			if s.opensLate() {
				s.late = newLateStreams()
				return nil
			}
			return s.join(ctx, s.spec.Restore != nil)
		},
		Undo: func(context.Context) error {
			if s.late != nil {
				s.late.cancel()
			}
			s.mu.Lock()
			s.draining = true // and streams that are being opened are too late
			s.mu.Unlock()
			err := s.closeStreams()
			// A client that does not read holds its pump until it is let go.
			s.Stdout.End()
			s.Stderr.End()
			s.pumps.Wait()
			return err
		},
	}
}

// join opens the streams of the init process, and passes on what comes out of them until their end.
func (s *Sandbox) join(ctx context.Context, again bool) error {
	withInput := again || !s.bornEnded()
	c, err := openStreams(ctx, s.guest, s.spec.ContainerID, agent.InitProcess, s.spec.Terminal, withInput, again)
	if err != nil {
		return err
	}
	target, ok := c.stdin.(stdio.WriteCloser)
	if withInput && !ok {
		return errors.Join(errors.New("a stream of the guest cannot be half-closed"), c.close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return errors.Join(errGuestGone, c.close())
	}
	s.streams = c
	if withInput {
		if err := s.Stdin.Open(target); err != nil {
			return errors.Join(err, c.close())
		}
	}
	s.pump(s.Stdout, c.stdout, logStdout)
	if c.stderr != nil {
		s.pump(s.Stderr, c.stderr, logStderr)
	} else {
		s.Stderr.End()
	}
	return nil
}

// bornEnded reports whether the guest is told at once that the init process has no input, which saves it a stream.
func (s *Sandbox) bornEnded() bool {
	return !s.spec.StdinOpen && !s.spec.Terminal && s.guest.Offers(featureBegin)
}

// noInput is where nothing goes.
type noInput struct{}

func (noInput) Write([]byte) (int, error)        { return 0, io.ErrClosedPipe }
func (noInput) CloseWrite() error                { return nil }
func (noInput) SetWriteDeadline(time.Time) error { return nil }

func (s *Sandbox) closeStreams() error {
	s.mu.Lock()
	c := s.streams
	s.mu.Unlock()
	if c == nil { // those that are opened late are not open yet, or never are
		return nil
	}
	return c.close()
}

// pump passes one output on, beside others.
func (s *Sandbox) pump(out *stdio.Output, from io.Reader, number int) {
	s.pumps.Go(func() { s.pass(out, from, number) })
}

// pass passes one output on until its end.
func (s *Sandbox) pass(out *stdio.Output, from io.Reader, number int) {
	if err := out.Copy(from, func(p []byte) error { return s.env.Log(number, p) }); err != nil && !errors.Is(err, net.ErrClosed) {
		s.env.Logger.Warn("output of the container is not complete", "stream", number, "error", err)
	}
}
