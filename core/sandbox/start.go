package sandbox

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vzctl/vzctl/core/agent"
	"github.com/vzctl/vzctl/core/sockets"
	"github.com/vzctl/vzctl/core/stdio"
	"github.com/vzctl/vzctl/core/steps"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// Sandbox is a running sandbox.
type Sandbox struct {
	spec Spec
	env  Environment

	// Filled by the steps, in their order.
	hypervisor Hypervisor
	lease      Lease
	plugged    bool       // the hypervisor runs, and its end is to come
	detached   chan error // tells once the lease is given back; nil before
	closed     chan error // tells once the hypervisor, for whose end nobody waits, has ended; nil: it has with its step
	vm         hypervisor.VM
	guest      Guest
	streams    *streams
	late       *lateStreams   // of streamsStep; nil: it opens streams itself
	running    *lifelong      // a call that tells when the init process ends; nil: nobody has asked; of processStep, and then of waitInit
	relay      *sockets.Relay // nil without sockets

	// Streams of the init process, open from the beginning.
	Stdin  *stdio.Input
	Stdout *stdio.Output
	Stderr *stdio.Output

	guestPhases []Phase // what the guest says of its calls; guarded by mu

	done    *steps.Done
	pumps   sync.WaitGroup
	hurry   chan struct{} // closed by the first Stop
	hurried sync.Once
	ending  chan struct{} // closed once outcome is set
	outcome Outcome
	unseen  bool          // nobody needs to see it end, as endsUnseen says; set with outcome
	over    chan struct{} // closed once nothing comes from the sandbox any more
	freed   chan struct{} // closed once somebody else can have what it had
	stopped chan struct{} // closed once all is torn down
	probing probing

	shutDown         bool  // the guest has said that it powers off
	shutDownErr      error // why it has not
	shutdownPatience time.Duration

	saving saving

	kept    atomic.Bool // what it has written, although it was to be discarded
	unpause func()      // ends a pause; nil unless the VM is paused; guarded by mu

	mu       sync.Mutex
	gone     bool                    // the VM, or its agent, has ended by itself
	draining bool                    // no pump begins any more
	procs    map[string]*execProcess // nil once none can run any more
	tending  sync.WaitGroup
	nextProc int

	forgetting forgetting
}

// steps is the start of a sandbox, in the order a reader may think of it; what does not need each other runs side by side.
func (s *Sandbox) steps() []steps.Step {
	if s.spec.Restore != nil {
		return s.restoreSteps()
	}
	list := slices.Concat([]steps.Step{
		s.hypervisorStep(),
		s.networkStep(),
		s.createVMStep("hypervisor", "network"),
		s.startVMStep("create vm"),
	}, s.socketsStep("start vm"), []steps.Step{
		s.agentStep("start vm"),
		answered(s.containerStep(append(s.socketsReady(), agentStepName, "network")...)),
	}, s.serveSocketsStep(containerStepName))
	if s.spec.Terminal {
		// A terminal is made by the process itself, and holds what was written until somebody reads.
		return append(list, s.releaseStep(containerStepName), answered(s.processStep("release")), answered(s.streamsStep(processStepName)))
	}
	// The streams of one without input may be opened after all of these.
	return append(list, answered(s.streamsStep(containerStepName)), s.releaseStep("streams"), answered(s.processStep("release")))
}

// New prepares a sandbox; nothing runs yet, but streams can be attached.
func New(spec Spec, env Environment) *Sandbox {
	s := &Sandbox{env: env, Stdin: stdio.NewInput(), Stdout: &stdio.Output{}, Stderr: &stdio.Output{},
		hurry: make(chan struct{}), ending: make(chan struct{}), over: make(chan struct{}), freed: make(chan struct{}), stopped: make(chan struct{}), probing: defaultProbing, shutdownPatience: agentShutdown,
		procs: map[string]*execProcess{}, saving: newSaving()}
	s.Change(spec)
	return s
}

// Change gives a sandbox that is to be started later another spec.
func (s *Sandbox) Change(spec Spec) {
	if spec.VirtualMachineID == "" {
		spec.VirtualMachineID = spec.ID
	}
	s.spec = spec
}

// Start returns when the container's process runs. After an error nothing is left of the sandbox.
func (s *Sandbox) Start(ctx context.Context) error {
	done, err := steps.Run(ctx, s.steps())
	if err != nil {
		s.Stdout.End()
		s.Stderr.End()
		return err
	}
	s.done = done
	go s.run()
	return nil
}

// Phase of a start. Where is "host" or "guest"; Within is the step that it is a part of, "" if it is one.
type Phase struct {
	steps.Phase
	Where, Within string
}

// Where a phase was spent.
const (
	onHost  = "host"
	inGuest = "guest"
)

// told keeps what the guest says of a call that a step made.
func (s *Sandbox) told(step string, phases []*guestv1.Phase, begun time.Time) {
	placed := agent.Phases(phases, begun, time.Since(begun))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range placed {
		s.guestPhases = append(s.guestPhases, Phase{steps.Phase(p), inGuest, step})
	}
}

// Timeline tells when each step of the start ran, what of the wait for the agent the guest spent booting, and what the guest says of its part in others.
func (s *Sandbox) Timeline() []Phase {
	s.mu.Lock()
	all := slices.Clone(s.guestPhases)
	s.mu.Unlock()
	for _, p := range s.done.Phases {
		all = append(all, Phase{p, onHost, ""})
		if p.Name == agentStepName && !s.vm.Cloned && s.spec.Restore == nil { // a clone's guest counts from the boot of another VM
			initAt, answeredAt := s.guest.Booted()
			// The guest's clock starts with its kernel; the host's sees only the answer.
			kernelAt := p.Begin.Add(p.Duration - answeredAt)
			all = append(all,
				Phase{steps.Phase{Name: "kernel", Begin: kernelAt, Duration: initAt}, inGuest, agentStepName},
				Phase{steps.Phase{Name: "vminitd", Begin: kernelAt.Add(initAt), Duration: answeredAt - initAt}, inGuest, agentStepName})
		}
	}
	slices.SortStableFunc(all, func(a, b Phase) int { return a.Begin.Compare(b.Begin) })
	return all
}

// VM returns the machine as it was started.
func (s *Sandbox) VM() hypervisor.VM { return s.vm }

// Endpoint returns the sandbox's place on its network; ok is false without one.
func (s *Sandbox) Endpoint() (lease Lease, ok bool) { return s.lease, s.lease != nil }

// Ended returns how the container ended, once its output is taken. A discarded sandbox that shares nothing with anybody may be ending yet; otherwise this is Wait.
func (s *Sandbox) Ended(ctx context.Context) (Outcome, error) {
	select {
	case <-s.over:
		return s.outcome, nil
	case <-ctx.Done():
		return Outcome{}, ctx.Err()
	}
}

// Freed is closed once, after Ended, its place on the network is free as well. Its VM may be ending yet.
func (s *Sandbox) Freed() <-chan struct{} { return s.freed }

// Wait returns how the container ended, once everything of the sandbox is gone.
func (s *Sandbox) Wait(ctx context.Context) (Outcome, error) {
	select {
	case <-s.stopped:
		return s.outcome, nil
	case <-ctx.Done():
		return Outcome{}, ctx.Err()
	}
}

// Stopped is closed when Wait would return.
func (s *Sandbox) Stopped() <-chan struct{} { return s.stopped }

// answered bounds a step that waits for the guest.
func answered(step steps.Step) steps.Step {
	do := step.Do
	step.Do = func(ctx context.Context) error {
		ctx, cancel := context.WithTimeoutCause(ctx, guestAnswer, errors.New("the guest does not answer; vzctl logs --boot shows its console"))
		defer cancel()
		if err := do(ctx); err != nil {
			return explained(ctx, err)
		}
		return nil
	}
	return step
}

// explained puts the reason for which ctx ended in the place of an error that only says that it did.
func explained(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return context.Cause(ctx)
	}
	return err
}

// guestAnswer is how long a guest that has booted may take for one request.
const guestAnswer = 2 * time.Minute

// guestBoot is how long a VM may take from its start to the agent's answer. Emulation on a loaded machine is slow.
const guestBoot = 2 * time.Minute
