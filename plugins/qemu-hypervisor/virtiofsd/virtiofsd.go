// Package virtiofsd knows the programs that serve a directory of the host to a VM by virtio-fs: where they are, which of the two there is, and how it is asked. It starts
// none to serve; that is package vm's.
package virtiofsd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Program is a virtiofsd.
type Program struct {
	Path string
	// Rust says that it is the one that goes on being developed, of its own project, and not the one in C that QEMU had up to version 7.2.
	Rust bool
}

// places where distributions put it, in none of which a shell would find it. The last is that of QEMU's own.
var places = []string{"/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "/usr/lib/qemu/virtiofsd"}

// identifyDeadline bounds a program that does nothing but print its version.
const identifyDeadline = 10 * time.Second

// Find returns the path of the virtiofsd that is used: the first in the search path, or where distributions put it. The error says what to install.
func Find() (string, error) { return find(places) }

func find(places []string) (string, error) {
	if path, err := exec.LookPath("virtiofsd"); err == nil {
		return path, nil
	}
	for _, path := range places {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", errors.New("virtiofsd not found; install it with: apt-get install virtiofsd (on Debian 12: qemu-system-common)")
}

// Offered returns why directories cannot be shared by virtio-fs here, or nil. It starts nothing.
func Offered(goos string, root bool) error {
	switch {
	case goos != "linux":
		return errors.New("it needs Linux")
	case !root:
		return errors.New("it needs root, as virtiofsd acts for all users of the guest; run vzctl as root, or leave the transport out")
	}
	_, err := Find()
	return err
}

// Identify asks a program which of the two it is.
func Identify(ctx context.Context, path string) (Program, error) {
	ctx, cancel := context.WithTimeout(ctx, identifyDeadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.Env = []string{"LC_ALL=C"}
	said, err := cmd.CombinedOutput()
	if err != nil {
		return Program{}, fmt.Errorf("%s does not tell its version: %w", path, err)
	}
	rust, err := isRust(string(said))
	if err != nil {
		return Program{}, fmt.Errorf("%s is no virtiofsd: %w", path, err)
	}
	return Program{Path: path, Rust: rust}, nil
}

// isRust reads "virtiofsd 1.13.2" or "virtiofsd version 7.2.22 (...)".
func isRust(said string) (bool, error) {
	words := strings.Fields(said)
	if len(words) < 2 || !strings.HasPrefix(words[0], "virtiofsd") {
		return false, fmt.Errorf("its version is %.60q", said)
	}
	return words[1] != "version", nil
}

// Arguments returns its command line, without the program: it serves dir to who connects to the listening socket that is its descriptor fd.
//
// Both keep themselves to dir, with namespaces of their own and few system calls. Both let the guest keep names, attributes and pages for a second before it asks whether
// they are still right ("auto"): with "none" no file could be mapped shared into memory, and the one in Rust cannot be told another time.
// Neither may make devices: whoever on the host can reach them could open them. That a directory is read-only is the business of how it is mounted: the
// one in C, and the one in Rust before 1.13, have no option for it.
func (p Program) Arguments(fd int, dir string) []string {
	descriptor := "--fd=" + strconv.Itoa(fd)
	if !p.Rust {
		return []string{descriptor, "-f", "-o", "source=" + escape(dir), "-o", "sandbox=namespace,cache=auto,xattr,modcaps=-mknod,announce_submounts,log_level=warn"}
	}
	return []string{descriptor, "--shared-dir=" + dir, "--sandbox=namespace", "--cache=auto", "--xattr", "--modcaps=-mknod", "--log-level=error"}
}

// escape writes a value of an option after -o, where a comma ends it.
func escape(value string) string {
	return strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(value)
}
