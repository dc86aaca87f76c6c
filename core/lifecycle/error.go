package lifecycle

import (
	"fmt"
	"strings"

	"github.com/vzctl/vzctl/sdk/fault"
)

// TransitionError refuses an event. It is of reason fault.FailedPrecondition.
type TransitionError struct {
	Container string // name as people know it; may be empty
	State     State
	Event     Event
}

// Error says what cannot be done, why, and what to do first.
func (e *TransitionError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cannot %s container", refusal(e.Event))
	if e.Container != "" {
		fmt.Fprintf(&b, " %q", e.Container)
	}
	b.WriteString(": " + phrase(e.State))
	if hint := e.Hint(); hint != "" {
		b.WriteString("; " + hint)
	}
	return b.String()
}

// Unwrap gives the error its reason.
func (e *TransitionError) Unwrap() error { return fault.FailedPrecondition }

// Hint returns what to do first so that the event is allowed: the first step of the shortest way through the table, or "" if there is none.
// An outcome has none: nobody asked for it.
func (e *TransitionError) Hint() string {
	if !verb(e.Event) {
		return ""
	}
	type way struct {
		state State
		first string
	}
	seen := map[State]bool{e.State: true}
	for queue := []way{{state: e.State}}; len(queue) > 0; queue = queue[1:] {
		here := queue[0]
		if _, err := Next(here.state, e.Event); err == nil {
			return here.first
		}
		for _, t := range transitions {
			step := advice(t.from, t.event)
			if t.from != here.state || step == "" || seen[t.to] {
				continue
			}
			seen[t.to] = true
			first := here.first
			if first == "" {
				first = step
			}
			queue = append(queue, way{t.to, first})
		}
	}
	return ""
}

// advice to make event happen in state: to use a verb, or, where the state passes by itself, to wait.
func advice(state State, event Event) string {
	for _, e := range events {
		if e.event != event {
			continue
		}
		if e.wait == "" || passes(state) && event != Exited || state == Stopping {
			return e.advice + e.wait // one of them is empty
		}
	}
	return ""
}

// passes reports whether the state ends by itself with a good outcome.
func passes(state State) bool {
	for _, s := range states {
		if s.state == state {
			return s.passing
		}
	}
	return false
}

func verb(event Event) bool {
	for _, e := range events {
		if e.event == event {
			return e.verb
		}
	}
	return false
}

func phrase(state State) string {
	for _, s := range states {
		if s.state == state {
			return s.phrase
		}
	}
	return fmt.Sprintf("its state %q is unknown", string(state))
}

func refusal(event Event) string {
	for _, e := range events {
		if e.event == event {
			return e.refusal
		}
	}
	return string(event)
}
