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
		measure: func(ctx context.Context, s *stage) (measured, error) { return s.execs(ctx, s.forks) },
	}
}

// execs compares the command with what another does in the same container.
func (s *stage) execs(ctx context.Context, other func(ctx context.Context, id string) (float64, error)) (m measured, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	id, remove, err := s.detached(ctx)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	vzctl := func(ctx context.Context) (float64, error) { return timed(s.vzctl(ctx, "exec", id, "/bin/true")) }
	return pairs(ctx, 3*s.count, vzctl, func(ctx context.Context) (float64, error) { return other(ctx, id) })
}

// executeRPC tells what the command adds to what it asks for.
func executeRPC() row {
	return row{
		name: "exec-rpc", what: "`vzctl exec CONTAINER /bin/true`, the whole process", reference: "the same call by a program that embeds `core`, and runs already",
		target: target{excess: 0.010},
		measure: func(ctx context.Context, s *stage) (measured, error) {
			e, err := engine.Open(ctx, engine.Options{Root: s.root})
			if err != nil {
				return measured{}, err
			}
			return s.execs(ctx, func(ctx context.Context, id string) (float64, error) {
				began := time.Now()
				exit, err := e.Exec(ctx, id, engine.ExecRequest{Args: []string{"/bin/true"}}, engine.Streams{})
				if err == nil && exit.Code != 0 {
					err = fmt.Errorf("exit code %d", exit.Code)
				}
				return time.Since(began).Seconds(), err
			})
		},
	}
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
