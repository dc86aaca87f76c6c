package main

import (
	"context"
	"os"
	"path/filepath"
)

// What the guests of bare machines say.
const (
	initSays = "init reached" // kernel/bench/guest/init.c
	idleSays = "idle"         // guest/idle.c
)

// cInitrd compiles a program of one file as a guest's init, and packs it.
func (s *stage) cInitrd(ctx context.Context, source string, flags ...string) (string, error) {
	binary := s.path(filepath.Base(source) + ".init")
	if err := quiet(command(ctx, "gcc", append(flags, "-static", "-Os", "-o", binary, source)...)); err != nil {
		return "", err
	}
	return s.pack(ctx, binary)
}

// goInitrd does the same with a package.
func (s *stage) goInitrd(ctx context.Context, pkg string) (string, error) {
	binary := s.path(filepath.Base(pkg) + ".init")
	build := command(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if err := quiet(build); err != nil {
		return "", err
	}
	return s.pack(ctx, binary)
}

func (s *stage) pack(ctx context.Context, binary string) (string, error) {
	initrd := binary + ".cpio"
	return initrd, quiet(command(ctx, "go", "run", "./guest/initrd", "-o", initrd, binary))
}

// smallest is a static init of 2 MB that says a line and resets the machine.
func (s *stage) smallest(ctx context.Context) (string, error) {
	return s.cInitrd(ctx, "kernel/bench/guest/init.c", "-nostdlib", "-fno-stack-protector", "-fno-asynchronous-unwind-tables")
}
