package agent

import (
	"time"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

// Bounds of what a guest may report of one call.
const (
	maxPhases    = 32
	maxPhaseName = 40 // bytes
)

// Phase is a part of a call, as the guest tells it, in the host's time.
type Phase struct {
	Name     string
	Begin    time.Time
	Duration time.Duration
}

// Phases places what a guest reports of a call that the host began at begun and that took as long as said. The clocks share nothing: what the guest did
// is taken to lie in the middle of the call, with the way there as long as the way back. The guest's word is bounded by what the host has seen: what does not
// fit into the call is cut, or left out.
func Phases(reported []*guestv1.Phase, begun time.Time, took time.Duration) []Phase {
	reported = reported[:min(len(reported), maxPhases)]
	var placed []Phase
	var last time.Duration
	for _, p := range reported {
		if p.GetBeginNanoseconds() >= uint64(took) {
			continue
		}
		offset := time.Duration(p.GetBeginNanoseconds())
		duration := time.Duration(min(p.GetDurationNanoseconds(), uint64(took-offset)))
		last = max(last, offset+duration)
		placed = append(placed, Phase{Name: bounded(p.GetName(), maxPhaseName), Begin: begun.Add(offset), Duration: duration})
	}
	for i := range placed {
		placed[i].Begin = placed[i].Begin.Add((took - last) / 2)
	}
	return placed
}
