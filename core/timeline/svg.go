package timeline

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The picture's measures, in pixels.
const (
	width      = 1000
	nameWidth  = 210 // of the names, left of the axis
	axisWidth  = 690
	rowHeight  = 18
	barHeight  = 12
	headHeight = 84
	indent     = 12
	// cutWidth is what a cut of the axis takes.
	cutWidth = 40
)

// Texts are cut so that they stay in their place.
const (
	longestName  = 32 // characters
	longestTitle = 90
)

// style has both a light and a dark form; the reader's preference chooses.
const style = `
svg { color: #1f2328; font: 12px ui-sans-serif, system-ui, sans-serif; }
text { fill: currentColor; }
.page { fill: #ffffff; }
.title { font-size: 16px; font-weight: 600; }
.quiet { fill: #59636e; }
.grid { stroke: #d1d9e0; stroke-width: 1; }
.ran { stroke: #59636e; stroke-width: 1; stroke-dasharray: 4 3; }
.cut { fill: #ffffff; stroke: #59636e; stroke-dasharray: 2 3; }
.command { fill: #8250df; } .host { fill: #0969da; } .guest { fill: #1a7f37; }
@media (prefers-color-scheme: dark) {
svg { color: #e6edf3; }
.page { fill: #0d1117; }
.quiet { fill: #9198a1; }
.grid { stroke: #30363d; }
.ran { stroke: #9198a1; }
.cut { fill: #0d1117; stroke: #9198a1; }
.command { fill: #ab7df8; } .host { fill: #4493f8; } .guest { fill: #3fb950; }
}
`

// SVG is the timeline as a picture that needs nothing but itself: a row for each span, its parts below it.
func (t Timeline) SVG() []byte {
	rows := t.rows()
	a := t.axis(rows)
	height := headHeight + rowHeight*len(rows) + rowHeight
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n", width, height, width, height)
	title := fmt.Sprintf("%s: %s start in %s ms", t.Image, t.VM, tenths(t.Start))
	fmt.Fprintf(&b, "<title>%s</title>\n<style>%s</style>\n", text(title, longestTitle), style)
	fmt.Fprintf(&b, `<rect class="page" width="%d" height="%d"/>`+"\n", width, height)
	fmt.Fprintf(&b, `<text class="title" x="12" y="26">%s</text>`+"\n", text(title, longestTitle))
	fmt.Fprintf(&b, `<text class="quiet" x="12" y="45">%s</text>`+"\n", text(t.subtitle(), longestTitle+30))
	for i, where := range []struct{ class, says string }{{Command, "the command"}, {Host, "the host"}, {Guest, "the guest"}} {
		x := width - 330 + 115*i
		fmt.Fprintf(&b, `<rect class="%s" x="%d" y="36" width="10" height="10" rx="2"/><text x="%d" y="45">%s</text>`+"\n", where.class, x, x+15, where.says)
	}
	bottom := height - rowHeight
	for _, tick := range a.ticks() {
		x := a.x(tick)
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/><text class="quiet" x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			x, headHeight-8, x, bottom, x, headHeight-13, round(tick))
	}
	for i, r := range rows {
		t.drawRow(&b, a, r, headHeight+rowHeight*i)
	}
	x := a.x(t.Start)
	fmt.Fprintf(&b, `<line class="ran" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/><text class="quiet" x="%.1f" y="%d" text-anchor="end">runs</text>`+"\n",
		x, headHeight-8, x, bottom, x-4, bottom+13)
	if a.cut > 0 {
		from := a.x(a.cutFrom)
		fmt.Fprintf(&b, `<rect class="cut" x="%.1f" y="%d" width="%d" height="%d"/><text class="quiet" x="%.1f" y="%d" text-anchor="start">%s cut out</text>`+"\n",
			from, headHeight-8, cutWidth, bottom-headHeight+8, from, bottom+13, a.cut.Round(time.Millisecond))
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (t Timeline) subtitle() string {
	how := "cold: the VM was booted"
	if t.VM == Cloned {
		how = "cloned: the VM is a copy of one that was booted before"
	}
	if t.Accelerator != "" {
		how += ", " + t.Accelerator
	}
	return fmt.Sprintf("%s; whole command %s ms; axis in ms", how, tenths(t.Total))
}

func (t Timeline) drawRow(b *bytes.Buffer, a axis, r row, y int) {
	from, to := a.x(r.Begin), a.x(r.End())
	class := Host
	if r.Where == Command || r.Where == Guest {
		class = r.Where
	}
	fmt.Fprintf(b, `<text x="%d" y="%d">%s</text>`, 12+indent*r.depth, y+11, text(r.Name, longestName))
	fmt.Fprintf(b, `<rect class="%s" x="%.1f" y="%d" width="%.1f" height="%d" rx="2"><title>%s (%s): %s ms from %s ms</title></rect>`,
		class, from, y+1, max(to-from, 1), barHeight, text(r.Name, longestName), class, hundredths(r.Duration), hundredths(r.Begin))
	fmt.Fprintf(b, `<text class="quiet" x="%.1f" y="%d">%s</text>`+"\n", max(to, from+1)+5, y+11, tenths(r.Duration))
}

// axis maps time to places. A process that ran for long would leave no room for its start: of what it ran, all but a little is cut out.
type axis struct {
	from, to     time.Duration // what is shown
	cutFrom, cut time.Duration // what is not, and how long that is
}

func (t Timeline) axis(rows []row) axis {
	a := axis{to: min(max(t.Total, t.Start, time.Microsecond), longest)}
	for _, r := range rows {
		a.from, a.to = min(a.from, r.Begin), max(a.to, r.End())
	}
	for _, r := range rows {
		if r.Begin >= t.Start && r.Duration > a.to/2 && r.Duration > 2*t.Start {
			shown := t.Start / 10
			a.cutFrom, a.cut = r.Begin+shown, r.Duration-2*shown
		}
	}
	return a
}

// x is the place of a moment.
func (a axis) x(moment time.Duration) float64 {
	if a.cut == 0 {
		return nameWidth + axisWidth*float64(moment-a.from)/float64(a.to-a.from)
	}
	scale := (axisWidth - cutWidth) / float64(a.to-a.from-a.cut)
	switch passed := moment - a.cutFrom; {
	case passed <= 0:
		return nameWidth + scale*float64(moment-a.from)
	case passed <= a.cut:
		return nameWidth + scale*float64(a.cutFrom-a.from) + cutWidth*float64(passed)/float64(a.cut)
	default:
		return nameWidth + scale*float64(moment-a.from-a.cut) + cutWidth
	}
}

// ticks are round moments, five to twelve of them.
func (a axis) ticks() []time.Duration {
	shown := float64(a.to - a.from - a.cut)
	step := math.Pow(10, math.Floor(math.Log10(shown/5)))
	for _, factor := range []float64{5, 2} {
		if shown/(step*factor) >= 5 {
			step *= factor
			break
		}
	}
	var ticks []time.Duration
	for at := time.Duration(0); at <= a.to; at += max(time.Duration(step), 1) {
		if a.cut > 0 && at >= a.cutFrom {
			break // behind the cut the axis goes on, but counting would mislead
		}
		ticks = append(ticks, at)
	}
	return ticks
}

func round(d time.Duration) string { return fmt.Sprintf("%g", milliseconds(d)) }

func tenths(d time.Duration) string { return fmt.Sprintf("%.1f", milliseconds(d)) }

// text makes of any text one that stays in its place and is nothing but text.
func text(s string, longest int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if utf8.RuneCountInString(s) > longest {
		s = string([]rune(s)[:longest-1]) + "…"
	}
	return html.EscapeString(s)
}
