package main

import (
	"context"
	"errors"
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
			return pairs(ctx, s.count, s.inEmptyDir(pull), s.inEmptyDir(s.curl))
		},
	}
}

// curl fetches the blobs into files, and then has their digests made.
func (s *stage) curl(ctx context.Context, dir string) (float64, error) {
	script := `cd "$0" && curl -sSf --remote-name-all "$@" && sha256sum -- * >/dev/null`
	args := []string{"-c", script, dir}
	for _, blob := range append([]ocispec.Descriptor{s.manifest.Config}, s.manifest.Layers...) {
		args = append(args, "http://"+s.store.Addr+"/v2/"+repository+"/blobs/"+blob.Digest.String())
	}
	return timed(command(ctx, "sh", args...))
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
