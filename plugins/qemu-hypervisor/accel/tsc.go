package accel

import (
	"bytes"
	"math"
	"os"
	"slices"
	"time"
)

// A guest under emulation reads the host's cycle counter, and cannot measure its rate well on a loaded host: it is told. Everything it knows of
// time then hangs on this figure, so it is measured here, to a few millionths, and not taken from /proc/cpuinfo, which gives the CPU's present rate.

// measureFor is how long the counter is watched at least. One reading is good to 50 ns.
const measureFor = 20 * time.Millisecond

// reading is the counter at a moment.
type reading struct {
	ticks uint64
	at    time.Time
}

// startCounter begins to measure, if there is something to measure.
func startCounter() *reading {
	if cycles() == 0 {
		return nil
	}
	r := readCounter()
	return &r
}

// readCounter takes of several readings the one that can be placed best in time.
func readCounter() reading {
	var best reading
	shortest := time.Duration(math.MaxInt64)
	for range 8 {
		before := time.Now()
		ticks := cycles()
		if took := time.Since(before); took < shortest {
			shortest, best = took, reading{ticks, before.Add(took / 2)}
		}
	}
	return best
}

// tsc returns the counter's rate in kHz; 0 where it is not steady.
func (m *memory) tsc(begun *reading) uint64 {
	if begun == nil {
		return 0
	}
	if m.TSC == nil {
		rate := uint64(0)
		if steady() {
			time.Sleep(time.Until(begun.at.Add(measureFor))) // the time itself is what is measured
			rate = rateBetween(*begun, readCounter())
		}
		m.TSC = &rate
		m.save()
	}
	return *m.TSC
}

func rateBetween(a, b reading) uint64 {
	return uint64(math.Round(float64(b.ticks-a.ticks) / b.at.Sub(a.at).Seconds() / 1000))
}

// steady reports whether the counter runs at one rate whatever the CPU does.
func steady() bool {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return false
	}
	_, after, _ := bytes.Cut(text, []byte("\nflags"))
	line, _, _ := bytes.Cut(after, []byte("\n"))
	flags := bytes.Fields(line)
	has := func(flag string) bool {
		return slices.ContainsFunc(flags, func(f []byte) bool { return string(f) == flag })
	}
	return has("constant_tsc") && has("nonstop_tsc")
}
