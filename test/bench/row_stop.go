package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// stop tells what the end of a sandbox adds to that of its process: the disks are written out, the VM and all that belongs to it end.
func stop() row {
	return row{
		name: "stop", what: "`vzctl stop -s KILL CONTAINER` of an idle one, the whole process", reference: "kill and wait of the same program by a shell in such a container",
		target: target{excess: 0.150},
		measure: func(ctx context.Context, s *stage) (m measured, err error) {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			beside, remove, err := s.detached(ctx)
			if err != nil {
				return m, err
			}
			defer func() { err = errors.Join(err, remove()) }()
			return pairs(ctx, s.count, s.stopOne, func(ctx context.Context) (float64, error) { return s.kills(ctx, beside) })
		},
	}
}

// stopOne stops a container that was started for it, which is not counted.
func (s *stage) stopOne(ctx context.Context) (seconds float64, err error) {
	id, remove, err := s.detached(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	return timed(s.vzctl(ctx, "stop", "-s", "KILL", id))
}

// kills is the mean of many, measured in the guest.
func (s *stage) kills(ctx context.Context, id string) (float64, error) {
	// Only two times of the day: to ask for one takes longer than what is measured.
	const loop = `i=0; while [ $i -lt 20 ]; do sleep 1000 & p="$p $!"; i=$((i+1)); done; sleep 1
		a=$(date +%s%N); for q in $p; do kill -9 $q; wait $q; done; b=$(date +%s%N); echo $(((b-a)/20))`
	out, err := output(s.vzctl(ctx, "exec", id, "sh", "-c", loop))
	if err != nil {
		return 0, err
	}
	ns, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the loop of kills printed %q: %w", out, err)
	}
	return time.Duration(ns).Seconds(), nil
}
