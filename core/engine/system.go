package engine

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/vzctl/vzctl/sdk"
)

// SystemInfo tells what this installation is and holds.
func (e *Engine) SystemInfo(ctx context.Context) (SystemInfo, error) {
	info := SystemInfo{Version: e.options.Version, Root: e.store.Paths().Root, RuntimeDir: e.store.Paths().Run, OS: runtime.GOOS,
		Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Containers: map[string]int{}, Plugins: map[string]string{}}
	containers, err := e.List(ctx)
	if err != nil {
		return info, err
	}
	for _, c := range containers {
		info.Containers[c.State]++
		if c.Checkpoint != nil {
			info.Checkpoints++
			info.CheckpointBytes += c.Checkpoint.SizeBytes
		}
	}
	all, err := e.ListImages(ctx)
	if err != nil {
		return info, err
	}
	info.Images = len(all)
	for _, kind := range sdk.Kinds() {
		if choice := e.host.Choice(kind); choice != "" {
			info.Plugins[string(kind)] = choice
		}
	}
	info.DiskBytes, err = allocated(info.Root)
	return info, err
}

// allocated returns what a directory occupies on its disk; files come and go meanwhile.
func allocated(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			if os.IsNotExist(err) {
				return nil
			}
			return err
		}
		info, err := entry.Info()
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			sum += stat.Blocks * 512
		}
		return nil
	})
	return sum, err
}
