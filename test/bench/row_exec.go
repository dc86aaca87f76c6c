package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/vzctl/vzctl/core/engine"
)

// execute runs a program in a container that runs already.
func execute() row {
	return row{
		name: "exec", what: "`vzctl exec CONTAINER /bin/true`, the whole process", reference: "fork, exec and wait of the same program by a shell in the same container",
		measure: func(ctx context.Context, s *stage) (measured, error) { return s.execs(ctx, s.command, s.forks) },
	}
}

// instances is how many containers the processes are executed in. Where code and data lie in the memory of a VM is a matter of chance, and changes what an emulated CPU takes for a process by a tenth.
const instances = 5

// execs compares what two do in the same containers.
func (s *stage) execs(ctx context.Context, ours, theirs one) (m measured, err error) {
	ctx, cancel := context.WithTimeout(ctx, instances*patience)
	defer cancel()
	var ids []string
	for range instances {
		id, remove, startErr := s.detached(ctx)
		if startErr != nil {
			return m, startErr
		}
		defer func() { err = errors.Join(err, remove()) }()
		ids = append(ids, id)
	}
	for _, id := range ids {
		in := func(what one) once {
			return func(ctx context.Context) (float64, error) { return what(ctx, id) }
		}
		some, err := pairs(ctx, 2*s.count, in(ours), in(theirs)) // of some milliseconds, which change by the minute
		if err != nil {
			return m, err
		}
		m.vzctl, m.reference = append(m.vzctl, some.vzctl...), append(m.reference, some.reference...)
	}
	return m, nil
}

// executeRPC tells what the command adds to what it asks for.
func executeRPC() row {
	return row{
		name: "exec-rpc", what: "`vzctl exec CONTAINER /bin/true`, the whole process", reference: "the same call by a program that embeds `core`, and runs already",
		target: target{excess: 0.010},
		measure: func(ctx context.Context, s *stage) (measured, error) {
			call, err := s.call(ctx)
			if err != nil {
				return measured{}, err
			}
			return s.execs(ctx, s.command, call)
		},
	}
}

// executeCall tells what the call adds to what the guest does for it.
func executeCall() row {
	return row{
		name: "exec-call", what: "exec of /bin/true by a program that embeds `core`, and runs already", reference: "fork, exec and wait of the same program by a shell in the same container",
		target: target{excess: 0.005},
		measure: func(ctx context.Context, s *stage) (measured, error) {
			call, err := s.call(ctx)
			if err != nil {
				return measured{}, err
			}
			return s.execs(ctx, call, s.forks)
		},
	}
}

// one measures one thing that is done in a container.
type one = func(ctx context.Context, id string) (float64, error)

func (s *stage) command(ctx context.Context, id string) (float64, error) {
	return timed(s.vzctl(ctx, "exec", id, "/bin/true"))
}

// call is what the command asks for.
func (s *stage) call(ctx context.Context) (one, error) {
	e, err := engine.Open(ctx, engine.Options{Root: s.root})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, id string) (float64, error) {
		began := time.Now()
		exit, err := e.Exec(ctx, id, engine.ExecRequest{Args: []string{"/bin/true"}}, engine.Streams{})
		if err == nil && exit.Code != 0 {
			err = fmt.Errorf("exit code %d", exit.Code)
		}
		return time.Since(began).Seconds(), err
	}, nil
}

// forks is the mean of many, measured in the guest.
func (s *stage) forks(ctx context.Context, id string) (float64, error) {
	const loop = `a=$(date +%s%N); i=0; while [ $i -lt 50 ]; do /bin/true; i=$((i+1)); done; b=$(date +%s%N); echo $(((b-a)/50))`
	out, err := output(s.vzctl(ctx, "exec", id, "sh", "-c", loop))
	if err != nil {
		return 0, err
	}
	ns, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	return time.Duration(ns).Seconds(), err
}
