package agent

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

func TestPhasesLieInTheMiddleOfTheirCall(t *testing.T) {
	begun := time.Now()
	placed := Phases([]*guestv1.Phase{
		{Name: "first", DurationNanoseconds: uint64(2 * time.Millisecond)},
		{Name: "second", BeginNanoseconds: uint64(2 * time.Millisecond), DurationNanoseconds: uint64(4 * time.Millisecond)},
	}, begun, 10*time.Millisecond)
	want := []Phase{{"first", begun.Add(2 * time.Millisecond), 2 * time.Millisecond}, {"second", begun.Add(4 * time.Millisecond), 4 * time.Millisecond}}
	if len(placed) != 2 || placed[0] != want[0] || placed[1] != want[1] {
		t.Errorf("placed %+v; want %+v", placed, want)
	}
	if placed := Phases(nil, begun, time.Second); placed != nil {
		t.Errorf("a guest that reports none has %+v", placed)
	}
}

func TestPhasesOfAHostileGuestStayWithinTheirCall(t *testing.T) {
	begun, took := time.Now(), 10*time.Millisecond
	var many []*guestv1.Phase
	for range 1000 {
		many = append(many, &guestv1.Phase{Name: "p"})
	}
	for name, reported := range map[string][]*guestv1.Phase{
		"too long":        {{Name: "p", BeginNanoseconds: 1, DurationNanoseconds: math.MaxUint64}},
		"too late":        {{Name: "p", BeginNanoseconds: math.MaxUint64, DurationNanoseconds: math.MaxUint64}},
		"too late by one": {{Name: "p", BeginNanoseconds: uint64(took)}},
		"too many":        many,
		"no phase":        {nil},
		"a long name":     {{Name: strings.Repeat("n", 1<<16)}},
		"a name that steers a terminal, and is no text": {{Name: "\x1b[2J\n\xff"}},
	} {
		t.Run(name, func(t *testing.T) {
			placed := Phases(reported, begun, took)
			if len(placed) > maxPhases {
				t.Errorf("%d phases", len(placed))
			}
			for _, p := range placed {
				if p.Begin.Before(begun) || p.Duration < 0 || p.Begin.Add(p.Duration).After(begun.Add(took)) {
					t.Errorf("%v for %v, in a call from %v for %v", p.Begin, p.Duration, begun, took)
				}
				if len(p.Name) > maxPhaseName+3 || strings.ContainsAny(p.Name, "\x1b\n") || !utf8.ValidString(p.Name) {
					t.Errorf("name %q", p.Name)
				}
			}
		})
	}
}
