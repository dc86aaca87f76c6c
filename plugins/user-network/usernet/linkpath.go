package usernet

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/vzctl/vzctl/sdk/network"
)

// maxPath is what a socket's address holds, without its final zero.
func maxPath() int {
	if runtime.GOOS == "darwin" {
		return 103
	}
	return 107
}

// linkPaths names the two sockets of an endpoint. Several endpoints may share a directory.
func linkPaths(dir, name, endpoint string) (network.UnixDatagram, error) {
	sum := sha256.Sum256([]byte(name + "/" + endpoint))
	base := filepath.Join(dir, "net-"+hex.EncodeToString(sum[:4]))
	link := network.UnixDatagram{VMPath: base + ".vm", NetworkPath: base + ".sw"}
	if n := len(link.NetworkPath); n > maxPath() {
		return link, fmt.Errorf("the path of a socket in %q would have %d bytes, at most %d are possible", dir, n, maxPath())
	}
	return link, nil
}

// checkLinkDir refuses a directory in which others could put a socket of theirs in the place of ours.
func checkLinkDir(dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("link directory %q is not an absolute path", dir)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fmt.Errorf("link directory %q is not a directory", dir)
	case !ok || int(stat.Uid) != os.Geteuid():
		return fmt.Errorf("link directory %q belongs to another user", dir)
	case info.Mode().Perm()&0o022 != 0:
		return errors.New("others may write to link directory \"" + dir + "\"")
	}
	return nil
}
