package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/vzctl/vzctl/core/stdio"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

// ProcessRequest is a further process.
type ProcessRequest struct {
	// OCIProcess is the process object of a runtime spec, User in place of its user unless empty.
	OCIProcess []byte
	User       string
	Terminal   bool
	// Detached: nobody attaches to it, or deletes it.
	Detached bool
	// NoInput: nobody attaches to its input, which is at its end.
	NoInput bool
	// Ordered: who attaches sees the order of what it writes to its two outputs.
	Ordered bool
}

// execProcess is a further process in the container. Its streams go straight to the one caller who opens them.
type execProcess struct {
	ProcessRequest
	starting bool          // guarded by Sandbox.mu
	runs     bool          // its start has succeeded; guarded by Sandbox.mu
	started  chan struct{} // closed when its start has succeeded or failed
	waited   chan struct{} // closed, with Sandbox.mu, when somebody waits for its end, who looks after it from then on
	opened   chan struct{} // closed when streams is set, or brief
	streams  *streams
	brief    *guestv1.CreateProcessResponse // all there is to know of a process that has ended by the time it is known to have started; the guest has forgotten it
	deleted  chan struct{}                  // closed when it is forgotten
	attached sync.WaitGroup
	clients  []net.Conn  // guarded by Sandbox.mu
	unwanted *time.Timer // abandons a process that nobody starts, or waits for once it is started
}

// callerTimeout is how long a process is kept for a caller who may be gone: until it is started, and from then on until somebody waits for it.
const callerTimeout = 30 * time.Second

// CreateProcess takes note of a process, so that callers can attach to it; its guest learns of it when it is started. A process that is not started soon, or not
// waited for soon after that, is forgotten, if it runs at its end: its caller is gone.
func (s *Sandbox) CreateProcess(r ProcessRequest) (id string, err error) {
	done, err := s.saving.exclude()
	if err != nil {
		return "", err
	}
	defer done()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.procs == nil {
		return "", errEnded
	}
	r.NoInput = r.NoInput || r.Detached
	s.nextProc++
	id = "exec" + strconv.Itoa(s.nextProc)
	p := &execProcess{ProcessRequest: r, started: make(chan struct{}), waited: make(chan struct{}), opened: make(chan struct{}), deleted: make(chan struct{})}
	p.unwanted = time.AfterFunc(callerTimeout, func() { s.abandon(id, p) })
	s.procs[id] = p
	return id, nil
}

// errEnded is what is said to who comes too late.
var errEnded = &fault.Error{Reason: fault.FailedPrecondition, Op: "execute in container", Cause: errors.New("it has ended")}

// open opens the streams of a process.
func (s *Sandbox) open(ctx context.Context, id string, p *execProcess, withInput bool) error {
	ctx, cancel := context.WithTimeout(ctx, guestAnswer)
	defer cancel()
	opened, err := openStreams(ctx, s.guest, s.spec.ContainerID, id, p.Terminal, withInput, false)
	if err != nil {
		return err
	}
	if half, ok := opened.stdin.(stdio.WriteCloser); ok && withInput && p.NoInput && !p.Terminal {
		_ = half.CloseWrite() // a process that has ended needs no input
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-p.deleted:
		return errors.Join(noProcess(id), opened.close())
	default:
	}
	p.streams = opened
	close(p.opened)
	return nil
}

// close closes the streams, if they are open.
func (p *execProcess) close() error {
	select {
	case <-p.opened:
		if p.streams != nil {
			return p.streams.close()
		}
	default:
	}
	return nil
}

func (s *Sandbox) process(id string) *execProcess {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.procs[id]
}

// featureRun is the guest's ability to create and start a process with one call, featureBrief that to tell all of one that ends soon in the answer.
const (
	featureRun   = "run"
	featureBrief = "brief"
)

// briefFor is how long, in milliseconds, what a process without input writes may be late when it begins, for the sake of those that have ended by then: to an emulated guest the streams and the
// further calls of a process cost more than to run it.
const briefFor = 100

// StartProcess runs a created process.
func (s *Sandbox) StartProcess(ctx context.Context, id string) error {
	p := s.process(id)
	if p == nil {
		return noProcess(id)
	}
	err := s.startProcess(ctx, id, p)
	switch {
	case err == nil && p.Detached:
		s.tend(func() { s.drainDetached(id, p) })
	case p.Detached:
		if deleteErr := s.DeleteProcess(id); deleteErr != nil {
			err = errors.Join(err, deleteErr)
		}
	}
	return err
}

func (s *Sandbox) startProcess(ctx context.Context, id string, p *execProcess) error {
	s.mu.Lock()
	before := p.starting
	p.starting = true
	s.mu.Unlock()
	if before {
		return &fault.Error{Reason: fault.FailedPrecondition, Op: "start process", Subject: id, Cause: errors.New("it was started before")}
	}
	p.unwanted.Stop()
	if !p.Detached {
		defer p.unwanted.Reset(callerTimeout) // the caller may have died meanwhile
	}
	defer close(p.started)
	// Each call costs an emulated guest as much as a few milliseconds of the process.
	atOnce := s.guest.Offers(featureRun)
	request := &guestv1.CreateProcessRequest{ContainerId: s.spec.ContainerID, ProcessId: id, OciProcess: p.OCIProcess, User: p.User, Start: atOnce, InputEnded: atOnce && p.NoInput}
	if request.InputEnded && !p.Terminal && !p.Detached && !p.Ordered && s.guest.Offers(featureBrief) {
		request.BriefMilliseconds = briefFor
	}
	answer, err := s.guest.CreateProcess(ctx, request)
	if err != nil && ctx.Err() != nil { // it may have been started at that very moment
		return s.killed(ctx, id, err)
	}
	if err != nil {
		return err
	}
	if answer.GetExit() != nil && request.BriefMilliseconds > 0 {
		return s.tookBrief(id, p, answer)
	}
	if !atOnce {
		if _, err := s.guest.StartProcess(ctx, &guestv1.StartProcessRequest{ContainerId: s.spec.ContainerID, ProcessId: id}); err != nil {
			return err
		}
	}
	err = s.open(ctx, id, p, !(atOnce && p.NoInput))
	if err != nil { // nobody will learn what it does
		return s.killed(ctx, id, err)
	}
	s.mu.Lock()
	p.runs = true
	s.mu.Unlock()
	return nil
}

// killed kills a process that may run, because of an error, which it returns.
func (s *Sandbox) killed(ctx context.Context, id string, err error) error {
	killing, cancel := context.WithTimeout(context.WithoutCancel(ctx), guestAnswer)
	defer cancel()
	if killErr := s.Signal(killing, id, sigkill); killErr != nil && !ended(killErr) {
		err = errors.Join(err, killErr)
	}
	return err
}

// tend runs what looks after a process. It ends with the process, or with the agent's connection, at the latest; the end of the sandbox waits for it.
func (s *Sandbox) tend(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.procs != nil {
		s.tending.Go(f)
	}
}

// drainDetached lets a detached process run to its end, and forgets it.
func (s *Sandbox) drainDetached(id string, p *execProcess) {
	var drained sync.WaitGroup
	for _, out := range []net.Conn{p.streams.stdout, p.streams.stderr} {
		if out != nil {
			drained.Go(func() { _, _ = io.Copy(io.Discard, out) }) // the end of the VM is an end, too
		}
	}
	s.forgetAtEnd(id)
	drained.Wait() // the streams are closed now
}

// forgetAtEnd forgets a process that nobody waits for, once it has ended.
func (s *Sandbox) forgetAtEnd(id string) {
	s.awaitEnd(id)
	s.deleteQuietly(id)
}

func (s *Sandbox) awaitEnd(id string) {
	if _, err := s.guest.WaitProcess(context.Background(), s.waitRequest(id)); err != nil {
		s.env.Logger.Debug("cannot wait for a process", "process", id, "error", err)
	}
}

// abandon forgets a process whose caller is gone, once it has ended. A caller who was slow only, and waits for it meanwhile, keeps it.
func (s *Sandbox) abandon(id string, p *execProcess) {
	s.mu.Lock()
	runs := p.runs
	s.mu.Unlock()
	switch {
	case p.isWaited():
	case runs:
		s.tend(func() {
			s.awaitEnd(id)
			if !p.isWaited() {
				s.deleteQuietly(id)
			}
		})
	default:
		s.deleteQuietly(id)
	}
}

// waits notes that somebody waits for the end of a process, and looks after it.
func (s *Sandbox) waits(p *execProcess) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !p.isWaited() {
		close(p.waited)
	}
}

func (p *execProcess) isWaited() bool {
	select {
	case <-p.waited:
		return true
	default:
		return false
	}
}

func (s *Sandbox) deleteQuietly(id string) {
	if err := s.DeleteProcess(id); err != nil {
		s.env.Logger.Debug("cannot forget a process", "process", id, "error", err)
	}
}

func (s *Sandbox) waitRequest(id string) *guestv1.WaitProcessRequest {
	return &guestv1.WaitProcessRequest{ContainerId: s.spec.ContainerID, ProcessId: id}
}

// WaitProcess returns how a process ended. If the caller goes before that, and nobody deletes the process, it runs to its end and is forgotten.
func (s *Sandbox) WaitProcess(ctx context.Context, id string) (Outcome, error) {
	if err := s.awaitStarted(ctx, id); err != nil {
		return Outcome{}, err
	}
	if p := s.process(id); p != nil {
		s.waits(p)
		if p.brief != nil {
			return s.processOutcome(p.brief.GetExit()), nil
		}
	}
	answer, err := s.guest.WaitProcess(ctx, s.waitRequest(id))
	if err == nil {
		return s.processOutcome(answer.GetExit()), nil
	}
	if ctx.Err() != nil {
		if s.process(id) != nil {
			s.tend(func() { s.forgetAtEnd(id) })
		}
		return Outcome{}, err
	}
	if errors.Is(err, fault.NotFound) {
		return Outcome{}, err
	}
	// The container's end is the process's too, and may be told a little later than the loss of the agent.
	select {
	case <-s.ending:
		return Outcome{Code: codeOfCrash, Reason: s.outcome.Reason, Message: "the container has ended", Time: s.outcome.Time}, nil
	case <-time.After(hungAfter):
	case <-ctx.Done():
	}
	return Outcome{}, err
}

// awaitStarted returns once the guest knows of a process, unless it never will.
func (s *Sandbox) awaitStarted(ctx context.Context, id string) error {
	if p := s.process(id); p != nil {
		select {
		case <-p.started:
			return nil
		case <-p.deleted:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case <-s.ending: // which is what there is to say
		return nil
	default:
		return noProcess(id)
	}
}

// DeleteProcess forgets a process, and what of its output nobody has read; the guest does so a little later. Idempotent.
func (s *Sandbox) DeleteProcess(id string) error {
	s.mu.Lock()
	p := s.procs[id]
	delete(s.procs, id)
	known := p != nil && p.starting
	if known {
		s.forgetting.begin()
	}
	s.mu.Unlock()
	if p == nil {
		return nil
	}
	err := s.forget(p)
	if known {
		go s.forgetInGuest(id, p)
	}
	return err
}

// forgetInGuest ends with the agent's connection, at the latest.
func (s *Sandbox) forgetInGuest(id string, p *execProcess) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.forgetting.end()
	}()
	<-p.started // after which there is nothing to come
	if p.brief != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), guestAnswer)
	defer cancel()
	if _, err := s.guest.DeleteProcess(ctx, &guestv1.DeleteProcessRequest{ContainerId: s.spec.ContainerID, ProcessId: id}); err != nil {
		s.env.Logger.Debug("the guest does not forget a process", "process", id, "error", err)
	}
}

// forgetting counts the processes that the guest is about to forget. Sandbox.mu guards it.
type forgetting struct {
	count int
	over  chan struct{} // closed when there are none any more; nil while there are none
}

func (f *forgetting) begin() {
	if f.count++; f.count == 1 {
		f.over = make(chan struct{})
	}
}

func (f *forgetting) end() {
	if f.count--; f.count == 0 {
		close(f.over)
		f.over = nil
	}
}

// forget closes what this process has of a process that is no longer listed.
func (s *Sandbox) forget(p *execProcess) error {
	p.unwanted.Stop()
	s.mu.Lock()
	close(p.deleted)
	err := p.close()
	for _, client := range p.clients { // nobody attaches any more
		_ = client.Close()
	}
	s.mu.Unlock()
	p.attached.Wait()
	return err
}

// forgetAll forgets every process, and takes no more.
func (s *Sandbox) forgetAll() {
	s.mu.Lock()
	all := s.procs
	s.procs = nil
	s.mu.Unlock()
	for id, p := range all {
		if err := s.forget(p); err != nil {
			s.env.Logger.Debug("cannot close the streams of a process", "process", id, "error", err)
		}
	}
	s.tending.Wait()
}

// AttachProcess prepares to join a caller's connection to one stream of an exec process: 0 is stdin, 1 stdout, 2 stderr. Join does it, once, until either ends. The
// connection is closed when the process is forgotten, at the latest.
func (s *Sandbox) AttachProcess(id string, stream int, conn net.Conn) (join func() error, err error) {
	if stream < 0 || stream > 2 {
		return nil, fmt.Errorf("a process has no stream %d", stream)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.procs[id]
	if p == nil {
		return nil, noProcess(id)
	}
	p.attached.Add(1)
	p.clients = append(p.clients, conn)
	return func() error {
		defer p.attached.Done()
		if err := p.join(stream, conn); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}, nil
}

func (p *execProcess) join(stream int, conn net.Conn) error {
	select {
	case <-p.opened:
	case <-p.deleted:
		return nil
	}
	if p.brief != nil {
		return p.joinBrief(stream, conn)
	}
	out := p.streams.stdout
	switch stream {
	case 0:
		if p.streams.stdin == nil { // it has no input
			return nil
		}
		if _, err := io.Copy(p.streams.stdin, conn); err != nil {
			return err
		}
		if half, ok := p.streams.stdin.(stdio.WriteCloser); ok {
			return half.CloseWrite()
		}
		return nil
	case 2:
		if out = p.streams.stderr; out == nil { // with a terminal there is none
			return nil
		}
	}
	_, err := io.Copy(conn, out)
	if err != nil {
		_, _ = io.Copy(io.Discard, out) // a client that is gone does not hold the process back
	}
	return err
}

func noProcess(id string) error {
	return &fault.Error{Reason: fault.NotFound, Op: "find process", Subject: id, Cause: errors.New("there is no such process")}
}
