// Package provider serves kernels that are on this machine already: what `make kernel` built and installed, or a file the user names.
// It fetches nothing. What a kernel is, package kernelfile tells; description.go reads the kernel.json that kernel/build.sh leaves, and
// seen.go remembers digests. Read this file first.
package provider

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/plugins/kernel-local/kernelfile"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/kernel"
	"github.com/vzctl/vzctl/sdk/progress"
)

const (
	op   = "find kernel"
	hint = "run `make kernel`, or name one with --kernel PATH"

	// Flavour is the only one there is.
	Flavour = "default"
)

// Provider looks into directories in order; the first kernel of a name and architecture hides later ones. It holds no state.
type Provider struct {
	Dirs []string
}

var _ kernel.Provider = (*Provider)(nil)

// SearchPath is where kernels are looked for: the directories of VZCTL_KERNEL_DIR, then those beside the plugin, where they are installed, then
// the build directory of the source tree that the plugin lies in.
func SearchPath(env, executable string) []string {
	dirs := filepath.SplitList(env)
	plugins := filepath.Dir(executable)
	return append(dirs, filepath.Join(plugins, "../kernels"), filepath.Join(plugins, "../../../build/kernels"))
}

// List returns the kernels of an architecture, or all. Directories that are not there and descriptions that are broken hide nothing else.
func (p *Provider) List(_ context.Context, arch, cacheDir string) ([]kernel.Kernel, error) {
	found, _, _ := p.find(arch)
	for i := range found {
		found[i].DependsOn = nil
	}
	return found, nil
}

// find also returns where it looked, whether something was there or not, and what was wrong with the descriptions it passed over.
func (p *Provider) find(arch string) (found []kernel.Kernel, looked []string, broken error) {
	type id struct{ name, arch string }
	seen := make(map[id]bool)
	for _, dir := range p.Dirs {
		// As make kernel leaves them, one directory for each architecture; or a directory that is one of these.
		for _, candidate := range []string{".", "x86_64", "arm64"} {
			path, err := descriptionIn(filepath.Join(dir, candidate))
			if err != nil {
				return nil, nil, err
			}
			looked = append(looked, path)
			k, err := readDescription(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				broken = errors.Join(broken, err)
				continue
			}
			if key := (id{k.Name, k.Arch}); !seen[key] && (arch == "" || arch == k.Arch) {
				seen[key] = true
				found = append(found, k)
			}
		}
	}
	return found, looked, broken
}

// Ensure finds the kernel. The content of one with a description is held against its SHA-256 once, and again when the file has changed.
func (p *Provider) Ensure(ctx context.Context, request kernel.EnsureRequest, report progress.Func) (kernel.Kernel, error) {
	if request.Arch == "" {
		request.Arch = runtime.GOARCH
	}
	if request.Flavour != "" && request.Flavour != Flavour {
		return kernel.Kernel{}, &fault.Error{
			Reason: fault.Unsupported, Op: op, Subject: request.Reference, Cause: fmt.Errorf("there is no flavour %q, only %q", request.Flavour, Flavour),
		}
	}
	if strings.ContainsRune(request.Reference, filepath.Separator) {
		return p.byPath(request)
	}
	return p.byName(request)
}

func (p *Provider) byName(request kernel.EnsureRequest) (kernel.Kernel, error) {
	all, looked, broken := p.find("")
	var others []string
	for _, k := range all {
		if request.Reference != "" && request.Reference != k.Name {
			continue
		}
		if k.Arch != request.Arch {
			others = append(others, k.Arch)
			continue
		}
		if err := verify(k, request.CacheDir); err != nil {
			return kernel.Kernel{}, err
		}
		k.DependsOn = append(looked, k.DependsOn...)
		return k, nil
	}
	switch {
	case broken != nil:
		return kernel.Kernel{}, &fault.Error{Reason: fault.Invalid, Op: op, Subject: request.Reference, Cause: broken, Hint: hint}
	case request.Reference != "" && len(others) > 0:
		return kernel.Kernel{}, wrongArch(request, others[0])
	}
	return kernel.Kernel{}, &fault.Error{
		Reason: fault.NotFound, Op: op, Subject: request.Reference, Hint: hint,
		Cause: fmt.Errorf("no kernel for %s in %s", request.Arch, strings.Join(p.Dirs, ", ")),
	}
}

func wrongArch(request kernel.EnsureRequest, arch string) error {
	return &fault.Error{
		Reason: fault.Invalid, Op: op, Subject: request.Reference,
		Cause: fmt.Errorf("it is a kernel for %s, and the container's platform is %s", arch, request.Arch),
	}
}

// byPath takes the kernel's own description if it lies beside it and is about this very file, else what the file tells.
func (p *Provider) byPath(request kernel.EnsureRequest) (kernel.Kernel, error) {
	path := request.Reference
	fail := func(reason fault.Reason, cause error) (kernel.Kernel, error) {
		return kernel.Kernel{}, &fault.Error{Reason: reason, Op: op, Subject: path, Cause: cause}
	}
	if !filepath.IsAbs(path) {
		return kernel.Kernel{}, &fault.Error{
			Reason: fault.Invalid, Op: op, Subject: path, Cause: errors.New("names have no slash, and paths are absolute here"), Hint: "write a path as ./" + path,
		}
	}
	resolved, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return kernel.Kernel{}, &fault.Error{Reason: fault.NotFound, Op: op, Subject: path, Cause: errors.New("no such file"), Hint: hint}
	}
	if err != nil {
		return fail(reasonOf(err), err)
	}
	f, info, err := openRegular(resolved)
	if err != nil {
		return fail(reasonOf(err), err)
	}
	defer f.Close() // only read
	described, err := descriptionIn(filepath.Dir(resolved))
	if err != nil {
		return fail(reasonOf(err), err)
	}
	dependsOn := []string{filepath.Clean(path), described}
	if k, err := readDescription(described); err == nil && k.Path == resolved && verify(k, request.CacheDir) == nil {
		if k.Arch != request.Arch {
			return kernel.Kernel{}, wrongArch(request, k.Arch)
		}
		k.DependsOn = append(dependsOn, k.DependsOn...)
		return k, nil
	}
	file, err := kernelfile.Inspect(f, info.Size())
	if err != nil {
		return fail(reasonOf(err), err)
	}
	if file.Arch != request.Arch {
		return kernel.Kernel{}, wrongArch(request, file.Arch)
	}
	return kernel.Kernel{
		Name: filepath.Base(resolved), Path: resolved, Format: file.Format, Version: file.Version, Arch: file.Arch, CommandLine: defaultCommandLine(file.Arch),
		DependsOn: dependsOn,
	}, nil
}

// defaultCommandLine is for kernels that come without a description: a quiet console, and a panic that ends the machine. kernel/README.md
// has the reasons.
func defaultCommandLine(arch string) string {
	if arch == kernelfile.AMD64 {
		return "quiet panic=-1 reboot=t no_timer_check"
	}
	return "quiet panic=-1"
}

func reasonOf(err error) fault.Reason {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault.NotFound
	case errors.Is(err, fs.ErrPermission):
		return fault.PermissionDenied
	case errors.Is(err, kernelfile.ErrNotKernel):
		return fault.Invalid
	}
	return fault.Internal
}

// openRegular does not wait for the other end of a FIFO, or wake a device.
func openRegular(path string) (*os.File, os.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: not a regular file", kernelfile.ErrNotKernel)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}
