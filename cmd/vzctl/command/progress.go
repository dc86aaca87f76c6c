package command

import (
	"github.com/vzctl/vzctl/cmd/vzctl/bars"
	"github.com/vzctl/vzctl/cmd/vzctl/terminal"
	"github.com/vzctl/vzctl/sdk/progress"
)

// progress shows how far long work is: bars on a terminal, a line per step with --debug, nothing otherwise. done must be called before anything else is written.
func (p *program) progress() (report progress.Func, done func()) {
	nothing := func() {}
	if p.debug {
		step := ""
		return func(u progress.Update) {
			if u.Step != step {
				step = u.Step
				p.log.Debug(printable(step), "item", u.Item, "total", u.Total)
			}
		}, nothing
	}
	if _, ok := terminal.Of(p.Stderr); ok {
		b := bars.New(p.Stderr)
		return b.Report, b.Done
	}
	return nil, nothing
}
