package provider

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"

	"github.com/opencontainers/go-digest"

	"github.com/vzctl/vzctl/plugins/kernel-local/kernelfile"
	"github.com/vzctl/vzctl/sdk/kernel"
)

const (
	descriptionName = "kernel.json"
	maxDescription  = 64 << 10 // bytes
)

// description is what kernel/build.sh writes; kernel/README.md has its meaning.
type description struct {
	Name        string `json:"name"`
	Version     string `json:"version"`
	Arch        string `json:"arch"`
	Format      string `json:"format"`
	Path        string `json:"path"`
	SHA256      string `json:"sha256"`
	CommandLine string `json:"cmdline"`
}

// The build names architectures as the kernel's tools do, contracts as OCI does.
var archs = map[string]string{"x86_64": kernelfile.AMD64, "arm64": kernelfile.ARM64}

var formats = map[string]bool{kernel.FormatPVH: true, kernel.FormatRaw: true, kernel.FormatBzImage: true}

var (
	names        = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)
	commandLines = regexp.MustCompile(`^[ -~]*$`)
)

// descriptionIn returns where a directory's kernel.json is, if there is one.
func descriptionIn(dir string) (string, error) {
	return filepath.Abs(filepath.Join(dir, descriptionName))
}

// readDescription reads a kernel.json, whose path is absolute. The error is fs.ErrNotExist if there is none. The file it names is not looked at.
func readDescription(path string) (k kernel.Kernel, err error) {
	f, _, err := openRegular(path)
	if err != nil {
		return kernel.Kernel{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var d description
	if err := json.NewDecoder(io.LimitReader(f, maxDescription)).Decode(&d); err != nil {
		return kernel.Kernel{}, fmt.Errorf("%q: %w", path, err)
	}
	if err := d.check(); err != nil {
		return kernel.Kernel{}, fmt.Errorf("%q: %w", path, err)
	}
	named := filepath.Join(filepath.Dir(path), d.Path)
	file, err := filepath.EvalSymlinks(named)
	if err != nil {
		return kernel.Kernel{}, fmt.Errorf("%q: the kernel it describes: %w", path, errors.New(err.Error())) // not this one does not exist
	}
	return kernel.Kernel{
		Name: d.Name, Path: file, Format: d.Format, Version: d.Version, Arch: archs[d.Arch], CommandLine: d.CommandLine, SHA256: d.SHA256,
		DependsOn: []string{named},
	}, nil
}

func (d description) check() error {
	switch {
	case !names.MatchString(d.Name):
		return fmt.Errorf("bad name %q", d.Name)
	case archs[d.Arch] == "":
		return fmt.Errorf("unknown architecture %q", d.Arch)
	case !formats[d.Format]:
		return fmt.Errorf("unknown format %q", d.Format)
	case !filepath.IsLocal(d.Path):
		return fmt.Errorf("the path %q leads elsewhere", d.Path)
	case digest.NewDigestFromEncoded(digest.SHA256, d.SHA256).Validate() != nil:
		return fmt.Errorf("bad sha256 %q", d.SHA256)
	case len(d.CommandLine) > 1024 || !commandLines.MatchString(d.CommandLine):
		return errors.New("the command line is too long or has characters that are not printable ASCII")
	}
	return nil
}
