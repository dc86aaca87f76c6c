package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestPairsAreInterleavedAndTheFirstIsNotCounted(t *testing.T) {
	var order []string
	side := func(name string, factor float64) once {
		return func(context.Context) (float64, error) {
			order = append(order, name)
			return factor * float64(len(order)), nil
		}
	}
	m, err := pairs(context.Background(), 2, side("v", 1), side("r", 10))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(order, ""); got != "vrrvvr" {
		t.Errorf("order %s, want vrrvvr", got)
	}
	if !slices.Equal(m.vzctl, []float64{4, 5}) || !slices.Equal(m.reference, []float64{30, 60}) {
		t.Errorf("measured %v against %v", m.vzctl, m.reference)
	}
}

func TestPairsNameTheSideThatFails(t *testing.T) {
	good := func(context.Context) (float64, error) { return 1, nil }
	bad := func(context.Context) (float64, error) { return 0, errors.New("no such thing") }
	_, err := pairs(context.Background(), 2, good, bad)
	if err == nil || err.Error() != "the reference, pair 0: no such thing" {
		t.Errorf("error %v", err)
	}
}

func TestReportSaysWhatWasReached(t *testing.T) {
	for _, c := range []struct {
		name string
		row  row
		m    measured
		err  error
		want string
	}{
		{"a target at most that is reached", row{target: target{ratio: 1.5}}, measured{vzctl: []float64{0.2, 0.3, 0.2}, reference: []float64{0.2, 0.2, 0.2}}, nil,
			"| 200 ms (200 to 300) | 200 ms (200 to 200) | 1.00 (1.00 to 1.50) | at most 1.5 | yes |"},
		{"a target at most that is missed", row{target: target{ratio: 1.5}}, measured{vzctl: []float64{0.004}, reference: []float64{0.002}}, nil,
			"| 4.00 ms (4.00 to 4.00) | 2.00 ms (2.00 to 2.00) | 2.00 (2.00 to 2.00) | at most 1.5 | **no** |"},
		{"a target at least", row{unit: bytesPerSecond, target: target{ratio: 0.6, atLeast: true}}, measured{vzctl: []float64{50e6}, reference: []float64{100e6}}, nil,
			"| 50 MB/s (50 to 50) | 100 MB/s (100 to 100) | 0.50 (0.50 to 0.50) | at least 0.6 | **no** |"},
		{"no target", row{unit: bytes}, measured{vzctl: []float64{3e6, 1e6}, reference: []float64{1e6, 1e6}}, nil,
			"| 2.0 MB (1.0 to 3.0) | 1.0 MB (1.0 to 1.0) | 2.00 (1.00 to 3.00) | - |  |"},
		{"what cannot be measured here", row{}, measured{}, fmt.Errorf("wrapped: %w", unavailable("it is not installed")), "not measured: it is not installed"},
		{"a failure", row{target: target{ratio: 1}}, measured{}, errors.New("it broke"), "| failed | at most 1 | no |"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r report
			r.add(c.row, c.m, c.err)
			if got := r.markdown(); !strings.Contains(got, c.want) {
				t.Errorf("no %q in:\n%s", c.want, got)
			}
		})
	}
}

func TestProcessesKnowTheirParents(t *testing.T) {
	all, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	below := all.below(os.Getppid())
	if !slices.ContainsFunc(below, func(p process) bool { return p.pid == os.Getpid() && p.parent == os.Getppid() }) {
		t.Errorf("this process is not among its parent's: %v", below)
	}
	if size, err := pss(os.Getpid()); err != nil || size <= 0 {
		t.Errorf("memory %v, %v", size, err)
	}
}
