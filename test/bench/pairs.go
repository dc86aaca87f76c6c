package main

import (
	"context"
	"fmt"
	"slices"
)

// row is a line of the table: how vzctl does something, and how the same is done without it.
type row struct {
	name      string // for -only
	what      string
	reference string
	unit      unit
	target    target
	// measure fails with unavailable if this machine cannot do it.
	measure func(context.Context, *stage) (measured, error)
}

// target is what a ratio, or what vzctl takes more than the reference, should be; the zero value is a row that only informs.
type target struct {
	ratio   float64
	atLeast bool    // else at most
	excess  float64 // in seconds, if it is not 0; then there is no ratio
}

func (t target) reached(ratio float64) bool {
	if t.atLeast {
		return ratio >= t.ratio
	}
	return ratio <= t.ratio
}

// measured has values of vzctl and of the reference, pair by pair, and sentences on what they do not tell.
type measured struct {
	vzctl, reference []float64
	notes            []string
}

// once measures one thing one time: in seconds, bytes or bytes a second.
type once func(context.Context) (float64, error)

// pairs measures two things in turn, so that a machine that grows slower or faster is fair to both, and lets each be first in half of the pairs. Each
// is done once before, uncounted: that fills the host's caches.
func pairs(ctx context.Context, count int, vzctl, reference once) (m measured, err error) {
	for i := range count + 1 {
		steps := []once{vzctl, reference}
		var values [2]float64
		for _, side := range []int{i % 2, 1 - i%2} {
			if values[side], err = steps[side](ctx); err != nil {
				return m, fmt.Errorf("%s, pair %d: %w", []string{"vzctl", "the reference"}[side], i, err)
			}
		}
		if i > 0 {
			m.vzctl, m.reference = append(m.vzctl, values[0]), append(m.reference, values[1])
		}
	}
	return m, nil
}

// excesses are what vzctl takes more than the reference, of the pairs.
func (m measured) excesses() []float64 {
	var out []float64
	for i := range m.vzctl {
		out = append(out, m.vzctl[i]-m.reference[i])
	}
	return out
}

// ratios of the pairs.
func (m measured) ratios() []float64 {
	var out []float64
	for i := range m.vzctl {
		out = append(out, m.vzctl[i]/m.reference[i])
	}
	return out
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}

// unavailable says why something cannot be measured on this machine.
type unavailable string

func (u unavailable) Error() string { return string(u) }
