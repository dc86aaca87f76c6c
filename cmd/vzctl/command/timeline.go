package command

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
	"github.com/vzctl/vzctl/core/timeline"
)

// What --timeline draws, by the end of its file's name; without a file it is a table.
const (
	timelineTable = "-"
	timelineSVG   = ".svg"
	timelineJSON  = ".json"
)

// timelineFlag takes a file, which may be left out: the word behind it is one if it ends like one, and the image otherwise.
type timelineFlag struct{ *cli.StringFlag }

func newTimelineFlag() timelineFlag {
	return timelineFlag{&cli.StringFlag{Name: "timeline", Usage: "where the time of the start went, as a picture or data in `[FILE.svg|FILE.json]`; without a file a table on stderr"}}
}

// Alone makes the table of a flag without a file.
func (timelineFlag) Alone(next string) (value string, taken bool) {
	if next == timelineTable || drawn(next) {
		return next, true
	}
	return timelineTable, false
}

func drawn(file string) bool {
	ext := filepath.Ext(file)
	return ext == timelineSVG || ext == timelineJSON
}

// timing of one run; nil if nobody has asked for it.
type timing struct {
	p        *program
	recorder *timeline.Recorder
	file     *os.File // nil: a table
	made     bool     // the file was not there before
	reported bool
}

// newTiming begins to take the time of what is done under c, if --timeline says so. The file is opened now: one that cannot be written is found out
// before anything happens.
func (p *program) newTiming(c *cli.Context) (*timing, error) {
	target := c.String("timeline")
	if target == "" {
		return nil, nil
	}
	t := &timing{p: p, recorder: timeline.NewRecorder()}
	c.Context = timeline.With(c.Context, t.recorder)
	if target == timelineTable {
		return t, nil
	}
	if !drawn(target) {
		return nil, usage("--timeline %q: use a file that ends in .svg or .json, or none for a table", target)
	}
	_, err := os.Stat(target)
	t.made = errors.Is(err, os.ErrNotExist)
	if t.file, err = os.OpenFile(target, os.O_WRONLY|os.O_CREATE, 0o644); err != nil {
		return nil, usage("--timeline: %w", err)
	}
	return t, nil
}

// close takes the file back if nothing was reported.
func (t *timing) close() {
	if t == nil || t.file == nil {
		return
	}
	_ = t.file.Close() // write has closed it, or it is not wanted
	if t.made && !t.reported {
		_ = os.Remove(t.file.Name())
	}
}

// ended notes that the streams and the record of a container are at their end, and since when its process is.
func (t *timing) ended(started engine.Container, exit engine.Exit) {
	if t == nil || exit.Time.IsZero() {
		return
	}
	if ran := ranAt(started); !ran.IsZero() {
		t.recorder.Add("run", timeline.Guest, "", ran, exit.Time.Sub(ran))
	}
	t.recorder.Add("end", timeline.Command, "", exit.Time, time.Since(exit.Time))
}

// ranAt is when the container's process ran: the end of the step that started it.
func ranAt(started engine.Container) time.Time {
	if started.Asked == nil {
		return time.Time{}
	}
	for _, phase := range started.Timeline {
		if phase.Name == "process" && phase.Within == "" {
			return started.Asked.Add(phase.Begin + phase.Duration)
		}
	}
	return time.Time{}
}

// report draws what was recorded, and what the container's record says of its start. It fails no run: the container has had its own.
func (t *timing) report(image string, started engine.Container) {
	if t == nil {
		return
	}
	line := timeline.Timeline{Image: image, Container: started.ID, VM: timeline.Cold, Accelerator: started.Accelerator,
		Total: t.recorder.Since(time.Now())}
	if started.Cloned {
		line.VM = timeline.Cloned
	}
	if started.Asked != nil {
		if started.Started != nil {
			t.recorder.Add(timeline.Start, timeline.Command, "", *started.Asked, started.Started.Sub(*started.Asked))
		}
		for _, phase := range started.Timeline {
			within := phase.Within
			if within == "" {
				within = timeline.Start
			}
			t.recorder.Add(phase.Name, phase.Where, within, started.Asked.Add(phase.Begin), phase.Duration)
		}
		if ran := ranAt(started); !ran.IsZero() {
			line.Start = t.recorder.Since(ran)
		}
	}
	line.Spans = t.recorder.Spans()
	if t.file == nil {
		_ = writeRows(t.p.Stderr, line.Rows()) // a terminal that is gone is no failure of the run
		return
	}
	err := t.write(line)
	if err != nil {
		t.p.complain(err)
	}
	t.reported = err == nil
}

func (t *timing) write(line timeline.Timeline) (err error) {
	text := line.SVG()
	if filepath.Ext(t.file.Name()) == timelineJSON {
		if text, err = line.JSON(); err != nil {
			return err
		}
	}
	if err := t.file.Truncate(0); err != nil {
		return err
	}
	_, err = t.file.Write(text)
	return errors.Join(err, t.file.Close())
}
