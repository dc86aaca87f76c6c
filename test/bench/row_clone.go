package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"time"
)

// answer is how long it takes until somebody in the guest answers.
func answer() row {
	return row{
		name: "answer", what: "from QEMU's exec to the first answer of the guest's agent, VM cloned", reference: "the same, VM booted",
		target: target{ratio: 0.12},
		measure: func(ctx context.Context, s *stage) (measured, error) {
			config, err := s.withoutTemplates()
			if err != nil {
				return measured{}, err
			}
			first := func(env ...string) once {
				return func(ctx context.Context) (float64, error) {
					t, _, err := s.timedStart(ctx, env...)
					if err != nil {
						return 0, err
					}
					return t.from("start vm").to("agent")
				}
			}
			return pairs(ctx, s.count, first(), first("XDG_CONFIG_HOME="+config))
		},
	}
}

// share is what a start costs besides the machine.
func share() row {
	return row{
		name: "share", what: "start of a cached container in a cloned VM, the whole process", reference: "of the same start, from QEMU's exec to the exit of the container's process as the command is told it",
		target: target{excess: 0.035},
		measure: func(ctx context.Context, s *stage) (m measured, err error) {
			for i := range s.count + 1 {
				t, whole, err := s.timedStart(ctx)
				if err != nil {
					return m, err
				}
				machine, err := t.from("start vm").to("run")
				if err != nil {
					return m, err
				}
				if i > 0 { // the first fills caches
					m.vzctl, m.reference = append(m.vzctl, whole), append(m.reference, machine)
				}
			}
			return m, nil
		},
	}
}

// spans of a timeline, as vzctl run --timeline FILE.json writes it.
type spans struct {
	Spans []struct {
		Name            string
		Begin, Duration time.Duration
	}
}

// moment is when a step began.
type moment struct {
	spans
	name string
}

func (t spans) from(name string) moment { return moment{t, name} }

// to returns the seconds until the end of a step.
func (m moment) to(name string) (float64, error) {
	var begin, end time.Duration
	for _, s := range m.Spans {
		if s.Name == m.name {
			begin = s.Begin
		}
		if s.Name == name {
			end = s.Begin + s.Duration
		}
	}
	if begin == 0 || end <= begin {
		return 0, fmt.Errorf("the timeline of a start tells not how long %q to %q took", m.name, name)
	}
	return (end - begin).Seconds(), nil
}

// timedStart runs a container that ends at once and returns its timeline, and how long the whole process took in seconds.
func (s *stage) timedStart(ctx context.Context, env ...string) (t spans, whole float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	path := s.path("start.json")
	cmd := s.vzctl(ctx, "run", "--rm", "--timeline", path, s.image, "/bin/true")
	cmd.Env = append(cmd.Env, env...)
	if whole, err = timed(cmd); err != nil {
		return t, 0, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return t, 0, err
	}
	return t, whole, json.Unmarshal(text, &t)
}

// crowd starts many at once.
func crowd() row {
	const many = 40
	return row{
		name: "crowd", what: fmt.Sprintf("start to end of %d containers at once, all of them", many), reference: "the same, one at a time for each CPU",
		target: target{ratio: 1.2},
		measure: func(ctx context.Context, s *stage) (measured, error) {
			at := func(atOnce int) once {
				return func(ctx context.Context) (float64, error) { return s.startMany(ctx, many, atOnce) }
			}
			return pairs(ctx, min(s.count, 3), at(many), at(runtime.NumCPU()))
		},
	}
}

// startMany runs many containers, some of them at once, and returns how long that took.
func (s *stage) startMany(ctx context.Context, many, atOnce int) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	free, failed := make(chan struct{}, atOnce), make(chan error, many)
	for range many {
		free <- struct{}{}
		go func() {
			failed <- quiet(s.vzctl(ctx, "run", "--rm", s.image, "/bin/true"))
			<-free
		}()
	}
	var err error
	for range many {
		if e := <-failed; e != nil {
			err = e
		}
	}
	return time.Since(began).Seconds(), err
}
