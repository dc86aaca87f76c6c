// Package timeline puts all that a start consisted of on one axis: what the command did, what the supervisor did, what the guest did. It keeps and
// draws; it measures nothing but what is done between Begin and its end.
//
// A [Recorder] in a context collects what a command does (recorder.go); a [Timeline] is drawn by svg.go, json.go and [Timeline.Rows].
package timeline

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Where a span was spent.
const (
	Command = "command" // the vzctl that was called
	Host    = "host"    // the supervisor, its plugins, the VM as seen from outside
	Guest   = "guest"   // vminitd and the kernel under it
)

// Spans of the command that have parts.
const (
	Create = "create"
	Start  = "start"
)

// How the VM came to be.
const (
	Cold   = "cold"
	Cloned = "cloned"
)

// Span is one thing that was done.
type Span struct {
	Name string `json:"name"`
	// Where is one of Command, Host and Guest.
	Where string `json:"where"`
	// Within names the span that it is a part of, "" if none. Parts may overlap; together they need not fill the whole.
	Within string `json:"within,omitempty"`
	// Begin and Duration are in nanoseconds; Begin counts from the beginning of the command.
	Begin    time.Duration `json:"begin"`
	Duration time.Duration `json:"duration"`
}

// End of the span, after the beginning of the command.
func (s Span) End() time.Duration { return s.Begin + s.Duration }

// Timeline is one run of a container, from the command's beginning.
type Timeline struct {
	Image       string `json:"image"`
	Container   string `json:"container"` // id
	VM          string `json:"vm"`        // Cold or Cloned
	Accelerator string `json:"accelerator,omitempty"`
	// Start is when the container's process ran, Total when the command was done; in nanoseconds.
	Start time.Duration `json:"start"`
	Total time.Duration `json:"total"`
	Spans []Span        `json:"spans"`
}

// longest bounds moments and durations, so that sums of them are some, too.
const longest = 10 * 365 * 24 * time.Hour

// row is a span in its place.
type row struct {
	Span
	depth int
}

// rows returns the spans, each followed by its parts, both in the order in which they began. Parts of what is not there stand for themselves.
func (t Timeline) rows() []row {
	spans := slices.Clone(t.Spans)
	for i, s := range spans {
		spans[i].Begin, spans[i].Duration = min(max(s.Begin, -longest), longest), min(max(s.Duration, 0), longest)
	}
	slices.SortStableFunc(spans, func(a, b Span) int {
		return cmp.Or(cmp.Compare(a.Begin, b.Begin), cmp.Compare(b.Duration, a.Duration))
	})
	first := map[string]int{} // where the span of a name is
	for i, s := range spans {
		if _, there := first[s.Name]; !there && s.Where != Guest { // the guest chooses its names
			first[s.Name] = i
		}
	}
	parts := map[int][]int{}
	const none = -1
	for i, s := range spans {
		whole, there := first[s.Within]
		if s.Within == "" || !there || whole == i {
			whole = none
		}
		parts[whole] = append(parts[whole], i)
	}
	rows := make([]row, 0, len(spans))
	placed := make([]bool, len(spans))
	var place func(whole, depth int)
	place = func(whole, depth int) {
		for _, i := range parts[whole] {
			if !placed[i] {
				placed[i] = true
				rows = append(rows, row{spans[i], depth})
				place(i, depth+1)
			}
		}
	}
	place(none, 0)
	for i, done := range placed { // parts of each other
		if !done {
			rows = append(rows, row{spans[i], 0})
		}
	}
	return rows
}

// Rows is the timeline as a table, heads first.
func (t Timeline) Rows() [][]string {
	table := [][]string{{"STEP", "BEGIN ms", "TOOK ms", "WHERE"}}
	for _, r := range t.rows() {
		table = append(table, []string{indented(r.Name, r.depth), hundredths(r.Begin), hundredths(r.Duration), r.Where})
	}
	return table
}

func indented(name string, depth int) string { return fmt.Sprintf("%*s%s", 2*depth, "", name) }

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func hundredths(d time.Duration) string { return fmt.Sprintf("%.2f", milliseconds(d)) }
