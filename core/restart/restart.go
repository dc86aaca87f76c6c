// Package restart decides whether, and when, a container that has ended is started again. It is pure: who starts it is the supervisor's business while
// there is one, and that of "vzctl system autostart" after the host's boot.
package restart

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/vzctl/vzctl/sdk/fault"
)

// Name of a policy, as Docker has them.
type Name string

// The policies. The zero value is No.
const (
	No            Name = "no"
	OnFailure     Name = "on-failure"     // if its exit code is not 0
	Always        Name = "always"         // until the user stops it; after the host's boot in any case
	UnlessStopped Name = "unless-stopped" // as Always, but once the user has stopped it, it stays so
)

// Policy says when a container is started again.
type Policy struct {
	Name Name
	// Max is how often in a row OnFailure starts it again; 0: without end.
	Max int
}

// Parse reads "no", "on-failure", "on-failure:5", "always" or "unless-stopped"; "" is "no". Errors are of reason fault.Invalid.
func Parse(text string) (Policy, error) {
	wrong := func(cause string) (Policy, error) {
		return Policy{}, &fault.Error{Reason: fault.Invalid, Op: "use restart policy", Subject: text, Cause: errors.New(cause),
			Hint: "use no, on-failure, on-failure:TIMES, always or unless-stopped"}
	}
	name, times, limited := strings.Cut(text, ":")
	p := Policy{Name: Name(name)}
	switch p.Name {
	case "", No:
		p.Name = No
	case OnFailure, Always, UnlessStopped:
	default:
		return wrong("there is no such policy")
	}
	if !limited {
		return p, nil
	}
	if p.Name != OnFailure {
		return wrong("only on-failure has a number of times")
	}
	n, err := strconv.ParseUint(times, 10, 31)
	if err != nil {
		return wrong("its number of times is none")
	}
	p.Max = int(n)
	return p, nil
}

// String is what Parse reads; "" of No, so that it is left out of records.
func (p Policy) String() string {
	switch {
	case p.Name == No:
		return ""
	case p.Max > 0:
		return fmt.Sprintf("%s:%d", p.Name, p.Max)
	}
	return string(p.Name)
}

// End is how a run has ended.
type End struct {
	Code int
	// Unwanted says that the user has asked for the end.
	Unwanted bool
	// Restarts is how often the container was started again before, without the user.
	Restarts int
}

// Again says whether a container that has ended is started again now.
func (p Policy) Again(e End) bool {
	switch {
	case e.Unwanted:
		return false
	case p.Name == Always, p.Name == UnlessStopped:
		return true
	case p.Name == OnFailure:
		return e.Code != 0 && (p.Max == 0 || e.Restarts < p.Max)
	}
	return false
}

// AtBoot says whether a container that was found ended after the host's boot is started.
func (p Policy) AtBoot(e End) bool {
	return p.Name == Always || p.Again(e)
}

// The pauses before starts, as Docker has them.
const (
	firstDelay = 100 * time.Millisecond
	maxDelay   = time.Minute
	// lasting runs are no failures of the start: the next pause is the first again.
	lasting = 10 * time.Second
)

// Delay is how long to wait before the next start: before is what was waited last, 0 for nothing, and ran how long the run took that has ended.
func Delay(before, ran time.Duration) time.Duration {
	if before <= 0 || ran >= lasting {
		return firstDelay
	}
	return min(2*before, maxDelay)
}
