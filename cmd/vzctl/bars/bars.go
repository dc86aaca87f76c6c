// Package bars shows on a terminal how far a pull or a build is. The bars are wiped when the work ends, so that nothing stands between them and what comes next.
package bars

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/vzctl/vzctl/sdk/progress"
)

// limit of bars in one piece of work. Items are named by plugins; one that invents new names without end must not fill memory.
const limit = 64

// Bars is one piece of work. It is not for several goroutines at once, as updates come in order.
type Bars struct {
	out  io.Writer
	pool *mpb.Progress
	bars map[string]*bar
}

type bar struct {
	*mpb.Bar
	total int64
}

// New returns bars on out, a terminal, that appear with the first update.
func New(out io.Writer) *Bars { return &Bars{out: out, bars: map[string]*bar{}} }

// Report shows an update. It is a progress.Func.
func (b *Bars) Report(u progress.Update) {
	at := b.bars[u.Item]
	if at == nil {
		if len(b.bars) == limit {
			return
		}
		at = b.add(u)
	}
	if u.Total > 0 && u.Total != at.total {
		at.total = u.Total
		at.SetTotal(u.Total, false)
	}
	at.SetCurrent(u.Done)
	if u.Total > 0 && u.Done >= u.Total {
		at.SetTotal(u.Total, true)
	}
}

func (b *Bars) add(u progress.Update) *bar {
	if b.pool == nil {
		b.pool = mpb.New(mpb.WithOutput(b.out), mpb.WithWidth(40))
	}
	added := &bar{Bar: b.pool.AddBar(0,
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(label(u)+" ", decor.WCSyncSpaceR)),
		mpb.AppendDecorators(decor.Any(func(s decor.Statistics) string { return " " + counters(s, u.Unit) })),
	)}
	b.bars[u.Item] = added
	return added
}

func counters(s decor.Statistics, unit progress.Unit) string {
	amount := func(n int64) string {
		if unit == progress.Bytes {
			return Size(n)
		}
		return strconv.FormatInt(n, 10)
	}
	if s.Total <= 0 {
		return amount(s.Current)
	}
	return amount(s.Current) + " / " + amount(s.Total)
}

// Size is a number of bytes as people read it, like 12.3 MB.
func Size(bytes int64) string {
	if bytes < 1000 {
		return strconv.FormatInt(bytes, 10) + " B"
	}
	return fmt.Sprintf("% .1f", decor.SizeB1000(bytes))
}

// Done wipes the bars and returns when the terminal is free.
func (b *Bars) Done() {
	if b.pool == nil {
		return
	}
	for _, bar := range b.bars {
		bar.Abort(true)
	}
	b.pool.Wait()
}

// label is what a bar is called: short, and without anything that a terminal would obey.
func label(u progress.Update) string {
	text := u.Step
	if item := strings.TrimPrefix(u.Item, "sha256:"); item != u.Item {
		text += " " + item[:min(12, len(item))]
	} else if u.Item != u.Step {
		text += " " + u.Item
	}
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.TrimSpace(text))
	if runes := []rune(text); len(runes) > 40 {
		text = string(runes[:39]) + "…"
	}
	return text
}
