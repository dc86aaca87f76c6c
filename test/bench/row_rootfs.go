package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/gzip"
	"oras.land/oras-go/v2/content/oci"

	"github.com/vzctl/vzctl/sdk/rootfs"
)

// buildRootfs asks a plugin that already runs, and compares with the decompressor it uses.
func buildRootfs() row {
	return row{
		name: "rootfs", what: "layers of Debian bookworm to an ext4 disk, by the plugin ext4-builder", reference: "decompressing the same layers to /dev/null with the same decompressor",
		target: target{ratio: 1.5},
		measure: func(ctx context.Context, s *stage) (m measured, err error) {
			layout := s.path("layout")
			target, err := oci.New(layout)
			if err != nil {
				return m, err
			}
			manifest, err := s.made.Push(ctx, target, "latest")
			if err != nil {
				return m, err
			}
			plugin, close, err := s.launched(ctx, "ext4-builder")
			if err != nil {
				return m, err
			}
			defer func() { err = errors.Join(err, close()) }()
			builder := rootfs.NewClient(plugin.Conn(), plugin.Info())
			build := func(ctx context.Context) (took float64, err error) {
				cache := s.path("cache")
				if err := os.Mkdir(cache, 0o700); err != nil {
					return 0, err
				}
				defer func() { err = errors.Join(err, os.RemoveAll(cache)) }()
				began := time.Now()
				_, err = builder.Build(ctx, rootfs.BuildRequest{RequestID: "bench", LayoutPath: layout, Manifest: manifest.Digest, CacheDir: cache},
					nil)
				return time.Since(began).Seconds(), err
			}
			decompress := func(context.Context) (float64, error) {
				began := time.Now()
				for _, layer := range s.manifest.Layers {
					if err := decompressed(filepath.Join(layout, "blobs", "sha256", layer.Digest.Encoded())); err != nil {
						return 0, err
					}
				}
				return time.Since(began).Seconds(), nil
			}
			return pairs(ctx, s.count, build, decompress)
		},
	}
}

func decompressed(path string) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	reader, err := gzip.NewReader(bufio.NewReaderSize(file, 256<<10)) // as much at once as the plugin reads
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, reader)
	return err
}
