// Package lifecycle is the life of a container as one table: which event leads from which state to which. It knows no disk, process or
// machine; whoever makes an event happen asks [Next] first and records the answer. The table in this file is the only place that says what
// is allowed: refusals (error.go) and the diagram (diagram.go) are derived from it.
package lifecycle

// State of a container.
type State string

// The states.
const (
	Creating State = "creating"
	Created  State = "created"
	Starting State = "starting"
	Running  State = "running"
	Paused   State = "paused"
	Stopping State = "stopping"
	// Restarting containers have ended, and are started again after a pause, as their restart policy says.
	Restarting State = "restarting"
	Stopped    State = "stopped"
	Failed     State = "failed" // a step up did not work; it may be started again or removed
	Removing   State = "removing"
	Gone       State = "gone" // never on disk
)

// Event is what happens to a container: a verb someone asked for, or an outcome.
type Event string

// The verbs.
const (
	Start      Event = "start"
	Restart    Event = "restart"
	Pause      Event = "pause"
	Resume     Event = "resume"
	Checkpoint Event = "checkpoint" // the container stays as it is until all is saved, and then ends, or goes on
	Restore    Event = "restore"    // a start from where a checkpoint was made
	Update     Event = "update"     // of limits; what they are in a VM that stands still nobody could change
	Rename     Event = "rename"
	Stop       Event = "stop"
	Kill       Event = "kill" // a signal; the container stays as it is until the process ends. Who is paused hears none
	Exec       Event = "exec"
	Attach     Event = "attach"
	Observe    Event = "observe" // what it uses, and its processes
	Remove     Event = "remove"
)

// The outcomes.
const (
	Made    Event = "made"    // create has succeeded
	Started Event = "started" // the process runs
	Exited  Event = "exited"  // the process or its machine has ended
	Retry   Event = "retry"   // it has ended, or did not start, and is to be started again
	Again   Event = "again"   // that start begins
	Fail    Event = "fail"    // a step of create or start has failed, and was undone
	Lose    Event = "lose"    // whoever looked after it is gone without a word
	Removed Event = "removed"
)

// Reason is why a container is stopped or failed.
type Reason string

// The reasons.
const (
	ReasonExited        Reason = "exited"
	ReasonKilled        Reason = "killed" // by a signal that someone sent
	ReasonOOM           Reason = "oom"    // by the guest's kernel, out of memory
	ReasonVMCrashed     Reason = "vm-crashed"
	ReasonGuestPanic    Reason = "guest-panic" // the guest's kernel gave up
	ReasonGuestHung     Reason = "guest-hung"
	ReasonLost          Reason = "lost" // its supervisor died, or the host did
	ReasonFailedToStart Reason = "failed-to-start"
	ReasonCheckpointed  Reason = "checkpointed" // it can be restored, and goes on then
)

// states are all of them, in the order of a life, and how a refusal speaks of each ("it is ...").
var states = []struct {
	state  State
	phrase string
	// passing states end by themselves with one of the outcomes.
	passing bool
}{
	{Creating, "it is being created", true},
	{Created, "it is created but not started", false},
	{Starting, "it is starting", true},
	{Running, "it is running", false},
	{Paused, "it is paused", false},
	{Stopping, "it is stopping", true},
	{Restarting, "it is restarting", true},
	{Stopped, "it is stopped", false},
	{Failed, "it has failed", false},
	{Removing, "it is being removed", true},
	{Gone, "it is gone", false},
}

// events are all of them. A verb has the words of "cannot ... container" and, if another verb may need it first, of the advice; a good outcome
// has the words of "wait until it ...".
var events = []struct {
	event                 Event
	verb                  bool
	refusal, advice, wait string
}{
	{event: Start, verb: true, refusal: "start", advice: "start it first"},
	{event: Restart, verb: true, refusal: "restart"},
	{event: Pause, verb: true, refusal: "pause"},
	{event: Resume, verb: true, refusal: "unpause", advice: "unpause it first"},
	{event: Checkpoint, verb: true, refusal: "checkpoint"},
	{event: Restore, verb: true, refusal: "restore"},
	{event: Update, verb: true, refusal: "update"},
	{event: Rename, verb: true, refusal: "rename"},
	{event: Stop, verb: true, refusal: "stop", advice: "stop it first"},
	{event: Kill, verb: true, refusal: "kill"},
	{event: Exec, verb: true, refusal: "execute in"},
	{event: Attach, verb: true, refusal: "attach to"},
	{event: Observe, verb: true, refusal: "observe"},
	{event: Remove, verb: true, refusal: "remove"},
	{event: Made, refusal: "finish the creation of", wait: "wait until it is created"},
	{event: Started, refusal: "finish the start of", wait: "wait until it runs"},
	{event: Exited, refusal: "record the end of", wait: "wait until it has stopped"},
	{event: Retry, refusal: "plan the next start of"},
	{event: Again, refusal: "begin the next start of", wait: "wait until it starts"},
	{event: Fail, refusal: "record the failure of"},
	{event: Lose, refusal: "record the loss of"},
	{event: Removed, refusal: "finish the removal of", wait: "wait until it is gone"},
}

// transitions is the table. What is not in it is refused.
var transitions = []struct {
	from  State
	event Event
	to    State
}{
	{Creating, Made, Created},
	{Creating, Fail, Failed},
	{Creating, Lose, Failed},

	{Created, Start, Starting},
	{Created, Stop, Created}, // nothing runs: done
	{Created, Update, Created},
	{Created, Rename, Created},
	{Created, Remove, Removing},

	{Starting, Started, Running},
	{Starting, Attach, Starting},
	{Starting, Stop, Stopping},
	{Starting, Fail, Failed},
	{Starting, Exited, Stopped},
	{Starting, Retry, Restarting},
	{Starting, Lose, Stopped},

	{Running, Pause, Paused},
	{Running, Checkpoint, Running},
	{Running, Update, Running},
	{Running, Rename, Running},
	{Running, Stop, Stopping},
	{Running, Kill, Running},
	{Running, Exec, Running},
	{Running, Attach, Running},
	{Running, Observe, Running},
	{Running, Exited, Stopped},
	{Running, Retry, Restarting},
	{Running, Lose, Stopped},

	{Paused, Resume, Running},
	{Paused, Rename, Paused},
	{Paused, Stop, Stopping},
	{Paused, Attach, Paused},
	{Paused, Exited, Stopped},
	{Paused, Retry, Restarting},
	{Paused, Lose, Stopped},

	{Stopping, Stop, Stopping},
	{Stopping, Kill, Stopping},
	{Stopping, Attach, Stopping},
	{Stopping, Exited, Stopped},
	{Stopping, Lose, Stopped},

	{Restarting, Again, Starting},
	{Restarting, Stop, Stopped}, // nothing runs: done
	{Restarting, Kill, Stopped},
	{Restarting, Update, Restarting}, // for its next start
	{Restarting, Rename, Restarting},
	{Restarting, Lose, Stopped},

	{Stopped, Start, Starting},
	{Stopped, Restart, Starting},
	{Stopped, Restore, Starting},
	{Stopped, Update, Stopped},
	{Stopped, Rename, Stopped},
	{Stopped, Stop, Stopped},
	{Stopped, Remove, Removing},

	{Failed, Start, Starting},
	{Failed, Restart, Starting},
	{Failed, Restore, Starting}, // what was not used is still there
	{Failed, Update, Failed},
	{Failed, Rename, Failed},
	{Failed, Stop, Failed},
	{Failed, Remove, Removing},

	{Removing, Stop, Removing},
	{Removing, Remove, Removing}, // takes over where another left off
	{Removing, Removed, Gone},

	{Gone, Stop, Gone},
	{Gone, Remove, Gone},
}

// Next returns the state that event leads to, or a *[TransitionError].
func Next(state State, event Event) (State, error) {
	for _, t := range transitions {
		if t.from == state && t.event == event {
			return t.to, nil
		}
	}
	return state, &TransitionError{State: state, Event: event}
}

// States returns all states in the order of a life.
func States() []State {
	var all []State
	for _, s := range states {
		all = append(all, s.state)
	}
	return all
}

// Events returns all events, verbs first.
func Events() []Event {
	var all []Event
	for _, e := range events {
		all = append(all, e.event)
	}
	return all
}

// Active reports whether a supervisor looks after a container in this state.
func (s State) Active() bool {
	return s == Starting || s == Running || s == Paused || s == Stopping || s == Restarting
}

// Settled reports whether a container in this state stays as it is until someone acts: its record must survive the host.
func (s State) Settled() bool { return s == Created || s == Stopped || s == Failed }
