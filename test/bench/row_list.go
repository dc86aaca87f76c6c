package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk"
)

const listed = 1000 // containers

// list reads records; half of the containers look as if they ran.
func list() row {
	return row{
		name: "ls", what: "`vzctl ls --all` of 1,000 containers, the whole process", reference: "`cat` of the same files, the whole process",
		measure: func(ctx context.Context, s *stage) (m measured, err error) {
			root := s.path("many")
			files, release, err := makeMany(ctx, root)
			defer func() { err = errors.Join(err, release()) }()
			if err != nil {
				return m, err
			}
			out, err := output(s.vzctlIn(ctx, root, "ls", "--all", "--quiet"))
			if n := len(strings.Fields(out)); err != nil || n != listed {
				return m, fmt.Errorf("vzctl ls shows %d containers: %w", n, err)
			}
			vzctl := func(ctx context.Context) (float64, error) { return timed(s.vzctlIn(ctx, root, "ls", "--all")) }
			cat := func(ctx context.Context) (float64, error) { return timed(command(ctx, "cat", files...)) }
			return pairs(ctx, 3*s.count, vzctl, cat)
		},
	}
}

// makeMany returns the records' files. Until release is called the running half is looked after, by this process.
func makeMany(ctx context.Context, root string) (files []string, release func() error, err error) {
	var held []*lock.Lock
	release = func() error {
		errs := []error{os.RemoveAll(root)}
		for _, l := range held {
			errs = append(errs, l.Close())
		}
		return errors.Join(errs...)
	}
	st, err := store.OpenPaths(store.Paths{Root: root, Run: root})
	if err != nil {
		return nil, release, err
	}
	for i := range listed {
		id := store.NewID()
		files = append(files, st.Paths().ContainerRecord(id))
		if err := makeOne(ctx, st, id, i); err != nil {
			return files, release, err
		}
		if i%2 == 0 {
			life, err := lock.Try(st.Paths().SandboxLife(id))
			if err != nil {
				return files, release, err
			}
			held = append(held, life)
		}
	}
	return files, release, nil
}

func makeOne(ctx context.Context, st *store.Store, id string, i int) error {
	c := store.Container{
		ID: id, Name: fmt.Sprintf("container-%d", i), Created: time.Now(), Image: "docker.io/library/debian:bookworm", Platform: "linux/amd64", Sandbox: id,
		Process: store.Process{Args: []string{"/bin/sh", "-c", "sleep 100"}, Env: strings.Split(strings.Repeat("NAME=value of some length,", 20), ",")},
		Plugins: map[sdk.Kind]string{sdk.Hypervisor: "qemu-hypervisor", sdk.Network: "user-network", sdk.RootfsBuilder: "ext4-builder"},
	}
	if err := st.CreateSandbox(ctx, store.Sandbox{ID: id, Created: time.Now(), Containers: []string{id}, Arch: "amd64"}); err != nil {
		return err
	}
	made, err := st.Create(ctx, c)
	if err != nil {
		return err
	}
	_, err = st.Update(ctx, id, func(c *store.Container) error {
		if c.State = lifecycle.Stopped; i%2 == 0 {
			c.State = lifecycle.Running
		}
		return nil
	})
	return errors.Join(err, made.Close())
}
