package rootfs_test

import (
	"context"
	"errors"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/plugintest"
	"github.com/vzctl/vzctl/sdk/progress"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

func dial(t *testing.T, impl rootfs.Builder) *rootfs.Client {
	info := sdk.Info{Name: "fake"}
	return rootfs.NewClient(plugintest.Dial(t, rootfs.Plugin(info, impl)), info)
}

func TestBuildGivesTheDisks(t *testing.T) {
	want := rootfs.Disk{Path: "/cache/disk", FileSystem: "ext4", ReadOnly: true}
	c := dial(t, &rootfs.Fake{BuildFunc: func(context.Context, rootfs.BuildRequest, progress.Func) (rootfs.Built, error) {
		return rootfs.Built{Disks: []rootfs.Disk{want}, Cached: true}, nil
	}})
	built, err := c.Build(t.Context(), rootfs.BuildRequest{LayoutPath: "/l", CacheDir: "/c", Manifest: digest.FromString("m")}, nil)
	if err != nil || !built.Cached || len(built.Disks) != 1 || built.Disks[0] != want {
		t.Errorf("build gave %+v, %v", built, err)
	}
}

func TestRequestsAreCheckedBeforeTheImplementationSeesThem(t *testing.T) {
	c := dial(t, &rootfs.Fake{}) // answers INTERNAL to all
	good := rootfs.BuildRequest{LayoutPath: "/l", CacheDir: "/c", Manifest: digest.FromString("m")}
	build := func(change func(*rootfs.BuildRequest)) error {
		r := good
		change(&r)
		_, err := c.Build(t.Context(), r, nil)
		return err
	}
	_, writable := c.CreateWritable(t.Context(), rootfs.WritableRequest{Path: "disk"})
	_, export := c.Export(t.Context(), rootfs.ExportRequest{OutputPath: "/a/../b"}, nil)
	_, list := c.List(t.Context(), "")
	for name, err := range map[string]error{
		"a relative layout":       build(func(r *rootfs.BuildRequest) { r.LayoutPath = "l" }),
		"no cache":                build(func(r *rootfs.BuildRequest) { r.CacheDir = "" }),
		"a manifest of a path":    build(func(r *rootfs.BuildRequest) { r.Manifest = "sha256:../x" }),
		"a relative disk":         writable,
		"an output with dots":     export,
		"a list of nowhere":       list,
		"a delete of no manifest": c.Delete(t.Context(), "r", "/c", ""),
	} {
		if !errors.Is(err, fault.Invalid) {
			t.Errorf("%s gave %v", name, err)
		}
	}
}

func TestAnswersAreNotTrusted(t *testing.T) {
	for name, built := range map[string]rootfs.Built{
		"no disks":        {},
		"a relative path": {Disks: []rootfs.Disk{{Path: "disk"}}},
	} {
		c := dial(t, &rootfs.Fake{BuildFunc: func(context.Context, rootfs.BuildRequest, progress.Func) (rootfs.Built, error) { return built, nil }})
		_, err := c.Build(t.Context(), rootfs.BuildRequest{LayoutPath: "/l", CacheDir: "/c", Manifest: digest.FromString("m")}, nil)
		if !errors.Is(err, fault.Internal) {
			t.Errorf("%s gave %v", name, err)
		}
	}
}
