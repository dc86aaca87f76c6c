package launch

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// socketName is the longest that we and go-plugin, of which some plugins are made, append to the runtime directory.
const socketName = "/plugin-dir1234567890/plugin1234567890"

// checkRuntimeDir refuses a directory that others could reach into, or in which a socket's name would be too long for the kernel.
func checkRuntimeDir(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("runtime directory: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch limit := maxSocketPath(runtime.GOOS); {
	case !filepath.IsAbs(dir) || !info.IsDir():
		return fmt.Errorf("runtime directory %q is no directory with an absolute path", dir)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("runtime directory %q has mode %04o, not 0700", dir, info.Mode().Perm())
	case ok && int(stat.Uid) != os.Geteuid():
		return fmt.Errorf("runtime directory %q belongs to user %d", dir, stat.Uid)
	case len(dir)+len(socketName) > limit:
		return fmt.Errorf("runtime directory %q is too long by %d bytes for a socket in it", dir, len(dir)+len(socketName)-limit)
	}
	return nil
}

func maxSocketPath(goos string) int {
	if goos == "darwin" {
		return 103
	}
	return 107
}
