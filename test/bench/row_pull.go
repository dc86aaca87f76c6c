package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// pullImage fetches into an empty root each time.
func pullImage() row {
	return row{
		name: "pull", what: "`vzctl image pull` of Debian bookworm from a registry on loopback, the whole process", reference: "`curl` and `sha256sum` of the same blobs",
		target: target{ratio: 1.2},
		measure: func(ctx context.Context, s *stage) (measured, error) {
			pull := func(ctx context.Context, dir string) (float64, error) {
				return timed(s.vzctlIn(ctx, dir, "image", "pull", s.image))
			}
			m, err := pairs(ctx, s.count, s.inEmptyDir(pull), s.inEmptyDir(s.curl("sha256sum -- * >/dev/null")))
			if err != nil {
				return m, err
			}
			alone, err := pairs(ctx, s.count, s.inEmptyDir(pull), s.inEmptyDir(s.curl("true")))
			if err != nil {
				return m, err
			}
			m.notes = append(m.notes, fmt.Sprintf("against curl alone, which checks nothing and does not wait for the disk, the ratio is %.2f: much of the reference's time is that of "+
				"sha256sum, which may not use the CPU's instructions for it as Go does, and begins when curl has ended", median(alone.ratios())))
			return m, nil
		},
	}
}

// curl fetches the blobs into files, and then runs a script.
func (s *stage) curl(then string) func(context.Context, string) (float64, error) {
	return func(ctx context.Context, dir string) (float64, error) {
		args := []string{"-c", `cd "$0" && curl -sSf --remote-name-all "$@" && ` + then, dir}
		for _, blob := range append([]ocispec.Descriptor{s.manifest.Config}, s.manifest.Layers...) {
			args = append(args, "http://"+s.store.Addr+"/v2/"+repository+"/blobs/"+blob.Digest.String())
		}
		return timed(command(ctx, "sh", args...))
	}
}

func (s *stage) inEmptyDir(do func(context.Context, string) (float64, error)) once {
	return func(ctx context.Context) (took float64, err error) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		dir, err := os.MkdirTemp(s.dir, "empty")
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		return do(ctx, dir)
	}
}
