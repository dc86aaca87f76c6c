package conformance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// guestTemplate starts a VM whose template is kept, has it verified, harms it, and starts another.
func guestTemplate(ctx context.Context, env *Env) error {
	if info := env.Process.Info(); !info.Offers(hypervisor.CapabilityFeature, hypervisor.FeatureTemplate) {
		return NotRun{Reason: "the plugin does not offer templates"}
	}
	c := hypervisors(env)
	cache, err := env.subdir("templates")
	if err != nil {
		return err
	}
	if err := env.startCached(ctx, "vm0", cache); err != nil {
		return err
	}
	list, err := c.Templates(ctx, cache)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return NotRun{Reason: "the plugin keeps no template of the VM"}
	}
	for _, t := range list {
		for i := range 2 {
			verified, err := c.VerifyTemplate(ctx, cache, t.ID)
			if err != nil || verified.Damage != "" || i > 0 && !verified.Compared {
				return wrong(err, "verification %d of a new template gave %+v", i+1, verified)
			}
		}
	}
	if err := filepath.WalkDir(cache, harm); err != nil {
		return err
	}
	for _, t := range list {
		verified, err := c.VerifyTemplate(ctx, cache, t.ID)
		if err != nil || verified.Damage == "" {
			return wrong(err, "verification of a template all of whose files were changed gave %+v", verified)
		}
		if _, err := c.VerifyTemplate(ctx, cache, t.ID); !errors.Is(err, fault.NotFound) {
			return wrong(err, "verification of a template that was removed gave")
		}
	}
	return env.startCached(ctx, "vm1", cache)
}

// startCached runs a VM with a cache directory until its agent answers.
func (e *Env) startCached(ctx context.Context, id, cache string) error {
	s, err := e.spec(id)
	if err != nil {
		return err
	}
	s.CacheDir = cache
	if _, err := hypervisors(e).Create(ctx, "create "+id, s); err != nil {
		return err
	}
	vm, err := hypervisors(e).Start(ctx, id)
	if err != nil {
		return fmt.Errorf("start with the cache directory: %w", err)
	}
	if err := e.hello(ctx, s, vm); err != nil {
		return fmt.Errorf("after a start with the cache directory: %w", err)
	}
	return e.forget(ctx, s)
}

// harm changes the first byte of a file that has one.
func harm(path string, entry fs.DirEntry, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the plugin is tidying up
	}
	if err != nil || !entry.Type().IsRegular() {
		return err
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	first := make([]byte, 1)
	if n, _ := file.ReadAt(first, 0); n == 1 {
		first[0] ^= 0xff
		_, err = file.WriteAt(first, 0)
	}
	return errors.Join(err, file.Close())
}
