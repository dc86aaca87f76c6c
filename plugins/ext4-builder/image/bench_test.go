package image

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/vzctl/vzctl/plugins/ext4-builder/image/imagetest"
	"github.com/vzctl/vzctl/plugins/ext4-builder/sparse"
)

// benchLayer returns the layer to measure with: the tar that VZCTL_BENCH_TAR names,
// else a generated one of text-like files.
func benchLayer(b *testing.B) []byte {
	b.Helper()
	if path := os.Getenv("VZCTL_BENCH_TAR"); path != "" {
		content, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		return content
	}
	random := rand.New(rand.NewPCG(1, 2))
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	for i := range 4000 {
		body := make([]byte, random.IntN(32<<10))
		for j := range body {
			body[j] = "etaoin shrdlu\n"[random.IntN(14)]
		}
		hdr := &tar.Header{Name: fmt.Sprintf("usr/share/dir%d/file%d", i%50, i), Mode: 0o644, Size: int64(len(body))}
		if err := tw.WriteHeader(hdr); err != nil {
			b.Fatal(err)
		}
		if _, err := tw.Write(body); err != nil {
			b.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}

// BenchmarkBuild builds the image of one layer. Compare with
// BenchmarkDecompress, which reads the same layer and does nothing with it.
func BenchmarkBuild(b *testing.B) {
	content := benchLayer(b)
	for _, form := range imagetest.Forms {
		b.Run(form.Name, func(b *testing.B) {
			dir := b.TempDir()
			manifest := imagetest.WriteLayout(b, dir, form, content)
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				buildOnce(b, dir, func(out *sparse.File) error {
					_, err := Build(context.Background(), Layout{dir}, manifest, out, nil)
					return err
				})
			}
		})
	}
}

func buildOnce(b *testing.B, dir string, build func(*sparse.File) error) {
	b.Helper()
	f, err := os.Create(filepath.Join(dir, "rootfs.img"))
	if err != nil {
		b.Fatal(err)
	}
	if err := build(sparse.NewFile(f)); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	if err := os.Remove(f.Name()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkDecompress is the reference of BenchmarkBuild.
func BenchmarkDecompress(b *testing.B) {
	content := benchLayer(b)
	open := map[string]func(io.Reader) (io.Reader, error){
		"tar":  func(r io.Reader) (io.Reader, error) { return r, nil },
		"gzip": func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		"zstd": func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r) },
	}
	for _, form := range imagetest.Forms {
		b.Run(form.Name, func(b *testing.B) {
			stored := form.Stored(b, content)
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				r, err := open[form.Name](bytes.NewReader(stored))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, struct{ io.Reader }{r}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
