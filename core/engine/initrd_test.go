package engine

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/sdk/fault"
)

func foreignArch() string {
	if runtime.GOARCH == "amd64" {
		return "arm64"
	}
	return "amd64"
}

func TestEachArchitectureHasItsInitImage(t *testing.T) {
	own, foreign := runtime.GOARCH, foreignArch()
	for name, test := range map[string]struct {
		files  []string
		arch   string
		want   string // file, or word of the error
		reason error
	}{
		"the host's own is the one without a name":            {[]string{"initrd.cpio"}, own, "initrd.cpio", nil},
		"one with the architecture's name comes first":        {[]string{"initrd.cpio", "initrd-" + own + ".cpio"}, own, "initrd-" + own + ".cpio", nil},
		"a foreign one has its architecture's name":           {[]string{"initrd.cpio", "initrd-" + foreign + ".cpio"}, foreign, "initrd-" + foreign + ".cpio", nil},
		"the host's own serves no foreign guests":             {[]string{"initrd.cpio"}, foreign, "make initrd ARCH=" + foreign, fault.NotFound},
		"a foreign one serves none of the host's":             {[]string{"initrd-" + foreign + ".cpio"}, own, "make all", fault.NotFound},
		"a directory is none":                                 {[]string{"initrd.cpio/"}, own, "not a file", fault.NotFound},
		"an architecture without a kernel cannot be built":    {[]string{"initrd.cpio"}, "riscv64", "amd64 or arm64", fault.Unsupported},
		"a path of the user's has those of others beside it":  {[]string{"mine.img", "mine-" + foreign + ".img"}, foreign, "mine-" + foreign + ".img", nil},
		"a path of the user's is the host's own architecture": {[]string{"mine.img", "initrd.cpio"}, own, "mine.img", nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, file := range test.files {
				path := filepath.Join(dir, file)
				if strings.HasSuffix(file, "/") {
					if err := os.Mkdir(path, 0o700); err != nil {
						t.Fatal(err)
					}
				} else if err := os.WriteFile(path, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			option := "initrd.cpio"
			if strings.HasPrefix(test.files[0], "mine") {
				option = "mine.img"
			}
			e := &Engine{options: Options{InitrdPath: filepath.Join(dir, option)}}
			got, err := e.Initrd(test.arch)
			if test.reason == nil {
				if err != nil || got != filepath.Join(dir, test.want) {
					t.Errorf("found %q, %v", got, err)
				}
				return
			}
			if !errors.Is(err, test.reason) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("found %q, %v", got, err)
			}
		})
	}
}

func TestASandboxRecordsTheInitImageOfItsArchitecture(t *testing.T) {
	e := newEngine(t)
	c, err := e.store.Get(create(t, e, "web").ID)
	if err != nil {
		t.Fatal(err)
	}
	b, err := e.store.GetSandbox(c.Sandbox)
	if err != nil || filepath.Base(b.InitrdPath) != "initrd-amd64.cpio" {
		t.Errorf("recorded %q, %v", b.InitrdPath, err)
	}
}

func TestAPlatformWithoutAnInitImageIsRefusedBeforeAnythingIsPulled(t *testing.T) {
	for name, test := range map[string]struct {
		image, platform string
		reason          fault.Reason
		says            string
	}{
		"the image is for it":                      {"example.com/multi:1", "linux/arm64", fault.NotFound, "make "},
		"the image is not for it either":           {"example.com/app:1", "linux/arm64", fault.NotFound, "only for linux/amd64"},
		"nothing is ever going to be built for it": {"example.com/multi:1", "linux/riscv64", fault.Unsupported, "riscv64"},
		"in another spelling":                      {"example.com/multi:1", "linux/aarch64", fault.NotFound, "initrd"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t)
			t.Setenv(script, "pull-fails")
			r := request("web")
			r.Image, r.Platform = test.image, test.platform
			_, err := e.Create(t.Context(), r, nil)
			if !errors.Is(err, test.reason) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v", err)
			}
			nothingLeft(t, e)
		})
	}
}
