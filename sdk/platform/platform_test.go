package platform_test

import (
	"runtime"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/platform"
)

func TestParseAndFormat(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"os and architecture", "linux/amd64", "linux/amd64"},
		{"kernel spelling of amd64", "linux/x86_64", "linux/amd64"},
		{"kernel spelling of arm64", "linux/aarch64", "linux/arm64"},
		{"the usual variant of arm64 is not shown", "linux/arm64/v8", "linux/arm64"},
		{"the usual variant of amd64 is not shown", "linux/amd64/v1", "linux/amd64"},
		{"Debian spelling of arm", "linux/armhf", "linux/arm/v7"},
		{"arm without variant is v7", "linux/arm", "linux/arm/v7"},
		{"another variant of arm64 stays", "linux/arm64/v9", "linux/arm64/v9"},
		{"architecture alone", "aarch64", "linux/arm64"},
		{"capitals", "Linux/ARM64", "linux/arm64"},
		{"nothing is the host's", "", "linux/" + runtime.GOARCH},
		{"an operating system alone", "linux", "linux/" + runtime.GOARCH},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := platform.Parse(c.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := platform.Format(p); got != c.want {
				t.Errorf("Parse(%q) = %s, want %s", c.text, got, c.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"four parts":                "linux/arm/v7/x",
		"an empty part":             "linux/",
		"an unknown system":         "plan9/amd64",
		"an unknown lone word":      "toaster",
		"newer amd64 than promised": "linux/amd64/v3",
		"bad characters":            "linux/amd 64",
	} {
		t.Run(name, func(t *testing.T) {
			if p, err := platform.Parse(text); fault.ReasonOf(err) != fault.Invalid {
				t.Errorf("Parse(%q) = %v, %v, want an invalid-error", text, p, err)
			}
		})
	}
}

func TestBestManifest(t *testing.T) {
	on := func(text ...string) (list []ocispec.Descriptor) {
		for _, s := range text {
			switch s {
			case "none":
				list = append(list, ocispec.Descriptor{})
			case "unknown":
				list = append(list, ocispec.Descriptor{Platform: &ocispec.Platform{OS: "unknown", Architecture: "unknown"}})
			case "amd64v3":
				list = append(list, ocispec.Descriptor{Platform: &ocispec.Platform{OS: "linux", Architecture: "amd64", Variant: "v3"}})
			default:
				p, err := platform.Parse(s)
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, ocispec.Descriptor{Platform: &p})
			}
		}
		return list
	}
	for _, c := range []struct {
		name, want string
		among      []ocispec.Descriptor
		best       int
	}{
		{"the one that fits", "linux/arm64", on("linux/amd64", "linux/arm64"), 1},
		{"variant v8 is the plain arm64", "linux/arm64/v8", on("linux/amd64", "linux/arm64"), 1},
		{"the first of two equals", "linux/amd64", on("linux/amd64", "linux/amd64"), 0},
		{"attestations are no images", "linux/amd64", on("unknown", "none", "linux/amd64"), 2},
		{"an image for a newer processor does not fit", "linux/amd64", on("amd64v3"), -1},
		{"arm v7 runs v6, but rather v7", "linux/arm/v7", on("linux/arm/v6", "linux/arm/v7"), 1},
		{"arm v7 runs v6 rather than v5", "linux/arm/v7", on("linux/arm/v5", "linux/arm/v6"), 1},
		{"arm v6 does not run v7", "linux/arm/v6", on("linux/arm/v7"), -1},
		{"nothing fits", "linux/riscv64", on("linux/amd64"), -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			want, err := platform.Parse(c.want)
			if err != nil {
				t.Fatal(err)
			}
			if got := platform.Best(want, c.among); got != c.best {
				t.Errorf("Best(%s, %s) = %d, want %d", c.want, platform.Names(c.among), got, c.best)
			}
		})
	}
}

func TestFormatShowsNothingOfAHostileName(t *testing.T) {
	if got := platform.Format(ocispec.Platform{OS: "linux", Architecture: "\x1b[31mamd64"}); got != "linux/?" {
		t.Errorf("got %q", got)
	}
}
