package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/sdk/fault"
)

// waiting has the engine's supervisors be programs that wait to be released, as real ones do, and do nothing after that.
func waiting(t *testing.T, e *Engine) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "vzctl")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nread -r word <&6\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	e.options.Program = []string{program}
}

func createNext(t *testing.T, e *Engine) Container {
	t.Helper()
	waiting(t, e)
	r := request("web")
	r.StartNext = true
	c, err := e.Create(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !supervised(t, e, c) {
		t.Fatal("nothing is made for its start")
	}
	return c
}

func supervised(t *testing.T, e *Engine, c Container) bool {
	t.Helper()
	alive, err := e.store.Alive(c.Sandbox)
	if err != nil {
		t.Fatal(err)
	}
	return alive
}

func TestAContainerThatWasToStartNextAndDoesNotIsOneLikeOthers(t *testing.T) {
	for name, end := range map[string]func(e *Engine, ctx context.Context) error{
		"another verb": func(e *Engine, ctx context.Context) error {
			return e.Update(ctx, "web", UpdateRequest{Restart: "always"})
		},
		"the engine's end":   func(e *Engine, ctx context.Context) error { return e.Close() },
		"its removal":        func(e *Engine, ctx context.Context) error { return e.Remove(ctx, "web", false) },
		"its forced removal": func(e *Engine, ctx context.Context) error { return e.Remove(ctx, "web", true) },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t)
			c := createNext(t, e)
			if err := end(e, t.Context()); err != nil {
				t.Fatal(err)
			}
			if supervised(t, e, c) {
				t.Error("the process that was made for its start goes on")
			}
			if held, err := lock.Held(e.store.Paths().ContainerLock(c.ID)); err != nil || held {
				t.Errorf("its lock is held: %t, %v", held, err)
			}
			if err := e.Remove(t.Context(), "web", true); err != nil && !errors.Is(err, fault.NotFound) {
				t.Error(err)
			}
			nothingLeft(t, e)
		})
	}
}

func TestACreateThatFailsLeavesNothingOfTheSupervisorItHasPrepared(t *testing.T) {
	e := newEngine(t)
	waiting(t, e)
	t.Setenv(script, "layer-fails")
	r := request("web")
	r.StartNext = true
	if _, err := e.Create(t.Context(), r, nil); err == nil {
		t.Fatal("no error")
	}
	nothingLeft(t, e)
}
