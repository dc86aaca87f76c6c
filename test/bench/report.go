package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// unit of what a row measures.
type unit int

const (
	seconds unit = iota
	bytes
	bytesPerSecond
)

func (u unit) format(v float64) string {
	switch u {
	case bytes:
		return fmt.Sprintf("%.1f", v/1e6)
	case bytesPerSecond:
		return fmt.Sprintf("%.0f", v/1e6)
	}
	return fmt.Sprintf("%.*f", decimals(v*1e3), v*1e3)
}

// decimals gives three digits to what is small.
func decimals(v float64) int {
	switch {
	case v >= 100:
		return 0
	case v >= 10:
		return 1
	}
	return 2
}

func (u unit) name() string { return [...]string{"ms", "MB", "MB/s"}[u] }

// report collects the rows as they are measured.
type report struct {
	machine  string
	load     float64 // when the run began
	lines    []string
	notes    []string
	timeline string
}

// add returns what was measured in a line for whoever waits.
func (r *report) add(row row, m measured, err error) string {
	for _, note := range m.notes {
		r.notes = append(r.notes, fmt.Sprintf("* `%s`: %s", row.name, note))
	}
	if why, missing := errors.AsType[unavailable](err); missing {
		r.lines = append(r.lines, fmt.Sprintf("| %s | %s | | | not measured: %s | %s | |", row.what, row.reference, why, row.target))
		return "not measured: " + string(why)
	}
	if err != nil {
		r.lines = append(r.lines, fmt.Sprintf("| %s | %s | | | failed | %s | no |", row.what, row.reference, row.target))
		return "failed: " + err.Error()
	}
	ratio, reached := row.target.judge(row.unit, m)
	verdict := ""
	if row.target != (target{}) {
		verdict = map[bool]string{true: "yes", false: "**no**"}[reached]
	}
	ours, theirs := spread(row.unit, m.vzctl), spread(row.unit, m.reference)
	r.lines = append(r.lines, fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s |", row.what, row.reference, ours, theirs, ratio, row.target, verdict))
	return fmt.Sprintf("%s against %s: %s, target %s %s", ours, theirs, ratio, row.target, verdict)
}

// judge returns the figure that a target is for, and whether it is reached.
func (t target) judge(u unit, m measured) (figure string, reached bool) {
	if t.excess != 0 {
		more := m.excesses()
		return "+" + spread(u, more), median(more) <= t.excess
	}
	ratios := m.ratios()
	return fmt.Sprintf("%.2f (%.2f to %.2f)", median(ratios), slices.Min(ratios), slices.Max(ratios)), t.reached(median(ratios))
}

func (t target) String() string {
	switch {
	case t.excess != 0:
		return fmt.Sprintf("at most %.0f ms more", t.excess*1e3)
	case t.ratio == 0:
		return "-"
	case t.atLeast:
		return fmt.Sprintf("at least %.2g", t.ratio)
	}
	return fmt.Sprintf("at most %.2g", t.ratio)
}

func spread(u unit, values []float64) string {
	return fmt.Sprintf("%s %s (%s to %s)", u.format(median(values)), u.name(), u.format(slices.Min(values)), u.format(slices.Max(values)))
}

// quietLoad is what a machine may do besides without spoiling the ratios.
const quietLoad = 0.5

func loadAverage() (load float64) {
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		_, _ = fmt.Sscan(string(text), &load) // 0 where there is none
	}
	return load
}

func (r *report) markdown() string {
	var b strings.Builder
	b.WriteString("# Benchmarks\n\n<!-- Written by \"make bench\". Change test/bench instead. -->\n\n")
	b.WriteString("Each row compares vzctl with a reference measured in the same run, in turn with it. Figures are medians of the pairs (smallest to largest);\n" +
		"the ratio is the median of the pairs' ratios, or after a plus what vzctl takes more, where that is the target. Only ratios can be compared between machines.\n\n")
	fmt.Fprintf(&b, "%s Load average when the run began: %.1f.\n\n", r.machine, r.load)
	if r.load > quietLoad {
		b.WriteString("**The machine was busy with other things.** What has more threads than its reference then gets more of the CPUs than its reference does, so\n" +
			"that its ratio looks better than it is; rows of many processes look worse.\n\n")
	}
	b.WriteString("| what | reference | vzctl | reference's | ratio | target | reached |\n|---|---|---|---|---|---|---|\n")
	b.WriteString(strings.Join(r.lines, "\n") + "\n")
	if len(r.notes) > 0 {
		b.WriteString("\n" + strings.Join(r.notes, "\n") + "\n")
	}
	if r.timeline != "" {
		fmt.Fprintf(&b, "\n## A start, step by step\n\n```\n%s```\n", r.timeline)
	}
	return b.String()
}
