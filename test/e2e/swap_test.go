package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"oras.land/oras-go/v2/content/oci"

	"github.com/vzctl/vzctl/test/fixtures/image"
)

// layout writes busybox as an OCI layout directory and returns its path.
func layout(t *testing.T, p *person) string {
	dir := filepath.Join(p.root, "layout")
	to, err := oci.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	busybox, err := image.Busybox()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := busybox.Push(context.Background(), to, "tag"); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestE2EAnotherImageSource(t *testing.T) {
	p := alone(t)
	dir := layout(t, p)
	archive := filepath.Join(p.root, "layout.tar")
	if out, err := exec.Command("tar", "-C", dir, "-cf", archive, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, reference := range []string{dir + ":tag", archive + ":tag"} {
		if got := p.must("run", "--rm", "--image-source", "oci-layout", reference, "echo", "hi"); got != "hi\n" {
			t.Errorf("%s printed %q", reference, got)
		}
	}
	p.fails([]string{"other"}, "run", "--image-source", "oci-layout", dir+":other", "true")
}

func TestE2EAnotherKernel(t *testing.T) {
	p := me(t)
	var kernels []struct{ Name, Version, Arch, Path string }
	if err := json.Unmarshal([]byte(p.must("kernel", "ls", "--format", "json")), &kernels); err != nil {
		t.Fatal(err)
	}
	if len(kernels) == 0 || kernels[0].Name == "" || kernels[0].Version == "" || kernels[0].Path == "" {
		t.Fatalf("kernel ls shows %+v", kernels)
	}
	if got := strings.TrimSpace(p.must("kernel", "path")); got != kernels[0].Path {
		t.Errorf("kernel path is %q, kernel ls has %q", got, kernels[0].Path)
	}
	// A copy elsewhere, without the description beside it.
	content, err := os.ReadFile(kernels[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "my-kernel")
	if err := os.WriteFile(other, content, 0o600); err != nil {
		t.Fatal(err)
	}
	name := p.name()
	if got := p.must("run", "--name", name, "--kernel", other, p.desk.busybox, "uname", "-r"); strings.TrimSpace(got) != kernels[0].Version {
		t.Errorf("uname printed %q, want %q", got, kernels[0].Version)
	}
	if got := p.must("inspect", name); !strings.Contains(got, other) {
		t.Errorf("inspect does not name the kernel: %s", got)
	}
}

// TestE2EAnOrdinaryUser does it all without privilege: no group, no setuid, no daemon, not even a home of their own.
func TestE2EAnOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("already an ordinary user: all other tests show it")
	}
	const user = 65534
	p := alone(t)
	run, err := os.MkdirTemp("", "run-") // short, as sockets want it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	home := filepath.Join(p.root, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{run, home} {
		if err := os.Chown(dir, user, user); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(p.root, 0o711); err != nil {
		t.Fatal(err)
	}
	// Where the checkout is may be closed to others; what is installed is not.
	installed := filepath.Join(p.desk.dir, "prefix")
	for _, dir := range []string{"bin", "libexec"} {
		if err := os.CopyFS(filepath.Join(installed, dir), os.DirFS(filepath.Join("../..", dir))); err != nil {
			t.Fatal(err)
		}
	}
	rootless := *p
	rootless.root = filepath.Join(home, ".local", "share", "vzctl")
	rootless.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_RUNTIME_DIR=" + run}
	rootless.command = func(ctx context.Context, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, filepath.Join(installed, "bin", "vzctl"), args...)
		cmd.Env, cmd.Dir = rootless.env, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
		return cmd
	}
	p = &rootless
	if got := p.must("run", "--rm", p.desk.busybox, "id", "-u"); got != "0\n" {
		t.Errorf("run printed %q", got)
	}
	for _, dir := range []string{"plain", "mapped"} {
		path := filepath.Join(home, dir)
		if err := errors.Join(os.Mkdir(path, 0o700), os.Chown(path, user, user)); err != nil {
			t.Fatal(err)
		}
	}
	// Files are the user's; in a mapped directory they can be given away all the same.
	expect(t, p.must("run", "--rm", "--network", "none", "-v", home+"/plain:/plain", "-v", home+"/mapped:/mapped:ownership=mapped", p.desk.busybox, "sh", "-c", try+`
		cd /plain; echo x >file; chmod 750 file; ln -s file link; echo "plain=$(stat -c %u:%a file) $(readlink link)"; try chown chown 999 file
		cd /mapped; echo x >file; chmod 750 file; try give chown 999:999 file; echo "mapped=$(stat -c %u:%g:%a file)"; try fifo mkfifo fifo`),
		map[string]string{"plain": "65534:750 file", "chown": "Operation not permitted", "give": "done", "mapped": "999:999:750", "fifo": "done"})
	if info, err := os.Stat(filepath.Join(home, "plain", "file")); err != nil || info.Mode() != 0o750 {
		t.Errorf("on the host the file is %v, %v", info, err)
	}
	// What needs root is refused at once, and says so.
	p.fails([]string{"virtiofs", "root"}, "create", "-v", home+"/plain:/plain:transport=virtiofs", p.desk.busybox, "true")
	p.must("run", "-d", "--name", "web", p.desk.busybox, "sleep", "1000")
	if got := p.must("exec", "web", "ip", "-4", "-o", "addr", "show", "eth0"); !strings.Contains(got, "inet ") {
		t.Errorf("no address: %q", got)
	}
	for pid := range p.processes() {
		info, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid)))
		if err != nil {
			continue // it ended meanwhile
		}
		if owner := info.Sys().(*syscall.Stat_t).Uid; owner != user && owner != 0 { // QEMU is not dumpable, so /proc shows root
			t.Errorf("process %d belongs to %d", pid, owner)
		}
	}
	p.must("stop", "-t", "0", "web")
	p.must("rm", "web")
	p.nothingRuns()
	// Nobody else reads it.
	err = filepath.WalkDir(p.root, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err == nil && path == p.root && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
