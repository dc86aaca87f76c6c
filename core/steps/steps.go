// Package steps runs a list of named steps that depend on each other: each as soon as what it needs is done, those that need nothing of each other side by side.
// When one fails the others are cancelled, what was done is undone in reverse order of its completion, and all errors are joined.
package steps

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Step is one thing done, and how to take it back.
type Step struct {
	Name string
	// Needs names earlier steps of the list.
	Needs []string
	Do    func(ctx context.Context) error
	// Undo takes back a Do that succeeded; nil if there is nothing to. A Do that fails cleans up after itself.
	Undo func(ctx context.Context) error
	// UndoTimeout bounds Undo; 0: 20 s.
	UndoTimeout time.Duration
}

// Phase tells when a step ran.
type Phase struct {
	Name     string
	Begin    time.Time
	Duration time.Duration
}

// Done is a list of steps that were all done. Undo takes them back.
type Done struct {
	Phases []Phase
	order  []Step
}

// undoTimeout bounds each Undo that does not say otherwise.
const undoTimeout = 20 * time.Second

// Run does all steps. After an error everything done has been undone, whatever became of ctx.
func Run(parent context.Context, list []Step) (*Done, error) {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	finished := make(map[string]chan struct{}, len(list))
	for i, s := range list {
		for _, need := range s.Needs {
			if !slices.ContainsFunc(list[:i], func(earlier Step) bool { return earlier.Name == need }) {
				return nil, fmt.Errorf("step %q needs %q, which is not before it", s.Name, need)
			}
		}
		finished[s.Name] = make(chan struct{})
	}
	var (
		mu   sync.Mutex
		done Done
		errs []error
		wait sync.WaitGroup
	)
	for _, s := range list {
		wait.Go(func() {
			for _, need := range s.Needs {
				select {
				case <-finished[need]:
				case <-ctx.Done():
					return
				}
			}
			if ctx.Err() != nil {
				return
			}
			phase := Phase{Name: s.Name, Begin: time.Now()}
			err := s.Do(ctx)
			phase.Duration = time.Since(phase.Begin)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				if len(errs) == 0 && parent.Err() != nil && errors.Is(err, context.Canceled) {
					err = context.Cause(parent) // why, rather than that
				}
				// What another's failure cancelled is no failure of its own.
				if len(errs) == 0 || !errors.Is(err, context.Canceled) {
					errs = append(errs, err)
				}
				cancel(err)
				return
			}
			done.order = append(done.order, s)
			done.Phases = append(done.Phases, phase)
			close(finished[s.Name])
		})
	}
	wait.Wait()
	if len(errs) == 0 && len(done.order) < len(list) {
		errs = append(errs, context.Cause(ctx))
	}
	if len(errs) > 0 {
		if err := done.Undo(context.WithoutCancel(ctx)); err != nil {
			errs = append(errs, err)
		}
		if len(errs) == 1 {
			return nil, errs[0] // as it is: callers look at what it is
		}
		return nil, errors.Join(errs...)
	}
	return &done, nil
}

// Undo takes back all that was done, in reverse order. It goes on after an error, and returns all of them.
func (d *Done) Undo(ctx context.Context) error {
	var errs []error
	for _, s := range slices.Backward(d.order) {
		if s.Undo == nil {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, cmp.Or(s.UndoTimeout, undoTimeout))
		if err := s.Undo(bounded); err != nil {
			errs = append(errs, fmt.Errorf("undo %s: %w", s.Name, err))
		}
		cancel()
	}
	d.order = nil
	return errors.Join(errs...)
}
