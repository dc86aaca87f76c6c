package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/cmd/vzctl/command"
	"github.com/vzctl/vzctl/core/engine"
	"github.com/vzctl/vzctl/core/images"
	"github.com/vzctl/vzctl/sdk/conformance"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// verify judges a plugin with what the user gave, and with this installation's kernel and init image where the user gave nothing.
func verify(ctx context.Context, plugin string, given command.Fixtures, report func(command.Case)) error {
	e, err := engine.Open(ctx, engine.Options{Root: given.Root, Version: version})
	if err != nil {
		return err
	}
	path, err := locate(ctx, e, plugin)
	if err != nil {
		return err
	}
	fixture, err := fixtures(ctx, e, given)
	if err != nil {
		return err
	}
	target := conformance.Target{Path: path}
	if dir, ok := os.LookupEnv("VZCTL_KERNEL_DIR"); ok {
		target.Env = append(target.Env, "VZCTL_KERNEL_DIR="+dir)
	}
	_, err = conformance.Run(ctx, target, fixture, func(r conformance.Result) {
		result := command.Case{Name: r.Case, Took: r.Time}
		switch r.Status {
		case conformance.Failed:
			result.Err = errors.New(r.Reason)
		case conformance.NotRan:
			result.NotRun = r.Reason
		}
		report(result)
	})
	return err
}

// locate returns the file of a plugin. One that is there is judged whatever it says of itself; anything else is for the engine to find or refuse.
func locate(ctx context.Context, e *engine.Engine, plugin string) (string, error) {
	if info, err := os.Stat(plugin); err == nil && info.Mode().IsRegular() {
		return filepath.Abs(plugin)
	}
	view, err := e.InspectPlugin(ctx, plugin)
	return view.Path, err
}

func fixtures(ctx context.Context, e *engine.Engine, given command.Fixtures) (conformance.Fixture, error) {
	platform, err := images.ParsePlatform(given.Platform)
	if err != nil {
		return conformance.Fixture{}, err
	}
	fixture := conformance.Fixture{
		Network: &conformance.NetworkFixture{},
		Kernel:  &conformance.KernelFixture{Arch: platform.Architecture},
	}
	if given.Reference != "" {
		reference, err := reference(given.Reference)
		if err != nil {
			return fixture, err
		}
		fixture.ImageSource = &conformance.ImageSourceFixture{
			Reference: reference, Platform: platform, Missing: sibling(reference),
		}
	}
	fixture.Hypervisor, err = guest(ctx, e, given, platform)
	return fixture, err
}

// guest is what VMs boot; nil if this installation has none and the user named none.
func guest(ctx context.Context, e *engine.Engine, given command.Fixtures, platform ocispec.Platform) (*conformance.HypervisorFixture, error) {
	initrd := given.Initrd
	if initrd == "" {
		var err error
		if initrd, err = e.Initrd(platform.Architecture); err != nil {
			return nil, nil
		}
	}
	if _, err := os.Stat(initrd); err != nil {
		return nil, err
	}
	initrd, err := filepath.Abs(initrd)
	if err != nil {
		return nil, err
	}
	kernel, err := e.Kernel(ctx, given.Kernel, images.FormatPlatform(platform), nil)
	if err != nil {
		if given.Kernel != "" || ctx.Err() != nil {
			return nil, err
		}
		return nil, nil
	}
	return &conformance.HypervisorFixture{
		Arch: platform.Architecture, InitrdPath: initrd, Kernel: hypervisor.Kernel{Path: kernel.Path, Format: kernel.Format, CommandLine: kernel.CommandLine},
	}, nil
}

// reference makes paths absolute, as a plugin has another working directory.
func reference(text string) (string, error) {
	if strings.HasPrefix(text, "./") || strings.HasPrefix(text, "../") || strings.HasPrefix(text, "/") {
		return filepath.Abs(text)
	}
	return text, nil
}

// sibling is a tag that the same source cannot have.
func sibling(reference string) string {
	name, _, _ := strings.Cut(reference, "@")
	if slash, colon := strings.LastIndex(name, "/"), strings.LastIndex(name, ":"); colon > slash {
		name = name[:colon]
	}
	return name + ":vzctl-verify-asks-for-what-is-not-there"
}
