package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/kernel"
)

// KernelFixture says what a provider shall find.
type KernelFixture struct {
	// Arch of a kernel the provider has, as OCI writes it.
	Arch string
}

func kernelCases() []Case {
	return []Case{
		{Name: "list names kernels that are files of this machine", Run: kernelList},
		{Name: "list for an architecture gives no other", Run: kernelListOfArch},
		{Name: "ensure gives a kernel for the architecture, the same each time", Run: kernelEnsure},
		{Name: "ensure of a name from list gives that kernel", Run: kernelEnsureByName},
		{Name: "ensure of a name that is none is not found", Run: kernelUnknown},
		{Name: "ensure of a file that is no kernel is refused", Run: kernelNotOne},
		{Name: "ensure of a path where nothing is is not found", Run: kernelNothing},
		{Name: "ensure for an architecture nobody has fails", Run: kernelForeignArch},
	}
}

func kernels(env *Env) *kernel.Client {
	return kernel.NewClient(env.Process.Conn(), env.Process.Info())
}

func checkKernel(k kernel.Kernel, arch string) error {
	info, err := os.Stat(k.Path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%q is no regular file", k.Path)
	case arch != "" && k.Arch != arch:
		return fmt.Errorf("%q is for %q, and %q was asked for", k.Path, k.Arch, arch)
	case k.Format != kernel.FormatPVH && k.Format != kernel.FormatRaw && k.Format != kernel.FormatBzImage:
		return fmt.Errorf("%q has the unknown format %q", k.Path, k.Format)
	}
	return nil
}

func kernelList(ctx context.Context, env *Env) error {
	list, err := kernels(env).List(ctx, "", env.Dir)
	for _, k := range list {
		if k.Name == "" {
			return fmt.Errorf("%q has no name", k.Path)
		}
		err = errors.Join(err, checkKernel(k, ""))
	}
	return err
}

func kernelListOfArch(ctx context.Context, env *Env) error {
	for _, arch := range []string{"amd64", "arm64", "vax"} {
		list, err := kernels(env).List(ctx, arch, env.Dir)
		if err != nil {
			return err
		}
		for _, k := range list {
			if k.Arch != arch {
				return fmt.Errorf("list for %q has %q for %q", arch, k.Name, k.Arch)
			}
		}
	}
	return nil
}

func kernelArch(env *Env) (string, error) {
	if env.Fixture.Kernel == nil {
		return "", NotRun{Reason: "no architecture was given for which the provider has a kernel"}
	}
	return env.Fixture.Kernel.Arch, nil
}

func kernelEnsure(ctx context.Context, env *Env) error {
	arch, err := kernelArch(env)
	if err != nil {
		return err
	}
	var first kernel.Kernel
	for i := range 2 {
		k, err := kernels(env).Ensure(ctx, kernel.EnsureRequest{Arch: arch, CacheDir: env.Dir}, nil)
		if err != nil {
			return err
		}
		if err := checkKernel(k, arch); err != nil {
			return err
		}
		if i == 0 {
			first = k
		}
		if !reflect.DeepEqual(k, first) {
			return fmt.Errorf("first %+v, then %+v", first, k)
		}
	}
	return nil
}

func kernelEnsureByName(ctx context.Context, env *Env) error {
	list, err := kernels(env).List(ctx, "", env.Dir)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return NotRun{Reason: "the provider has no kernel"}
	}
	for _, want := range list {
		got, err := kernels(env).Ensure(ctx, kernel.EnsureRequest{Arch: want.Arch, Reference: want.Name, CacheDir: env.Dir}, nil)
		if err != nil {
			return err
		}
		if got.Path != want.Path {
			return fmt.Errorf("ensure of %q gave %q, and list says %q", want.Name, got.Path, want.Path)
		}
	}
	return nil
}

func kernelUnknown(ctx context.Context, env *Env) error {
	_, err := kernels(env).Ensure(ctx, kernel.EnsureRequest{Arch: "amd64", Reference: "no-such-kernel", CacheDir: env.Dir}, nil)
	return wantReason("ensure", err, fault.NotFound)
}

func kernelNotOne(ctx context.Context, env *Env) error {
	path := filepath.Join(env.Dir, "text")
	if err := os.WriteFile(path, []byte("This is no kernel, however long one reads it.\n"), 0o600); err != nil {
		return err
	}
	_, err := kernels(env).Ensure(ctx, kernel.EnsureRequest{Arch: "amd64", Reference: path, CacheDir: env.Dir}, nil)
	// A provider that takes no paths finds no kernel of such a name.
	return offered("kernels by path", wantReason("ensure", err, fault.Invalid, fault.NotFound, fault.Unsupported))
}

func kernelNothing(ctx context.Context, env *Env) error {
	_, err := kernels(env).Ensure(ctx, kernel.EnsureRequest{Arch: "amd64", Reference: filepath.Join(env.Dir, "nothing"), CacheDir: env.Dir}, nil)
	return wantReason("ensure", err, fault.NotFound, fault.Unsupported)
}

func kernelForeignArch(ctx context.Context, env *Env) error {
	_, err := kernels(env).Ensure(ctx, kernel.EnsureRequest{Arch: "vax", CacheDir: env.Dir}, nil)
	return wantReason("ensure", err, fault.NotFound, fault.Invalid, fault.Unsupported)
}
