package launch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/sdk/fault"
)

// maxDatabase bounds the container's passwd and group, which are not to be trusted, in bytes.
const maxDatabase = 16 << 20

// account is who a process runs as.
type account struct {
	uid, gid int
	groups   []int
	home     string
	umask    *uint32
}

// lookUp finds a user in the container's own passwd and group. Runs in the container's root.
func lookUp(name string, u specs.User) (account, error) {
	passwd, err := openDatabase("/etc/passwd")
	if err != nil {
		return account{}, err
	}
	defer func() { _ = passwd.Close() }()
	group, err := openDatabase("/etc/group")
	if err != nil {
		return account{}, err
	}
	defer func() { _ = group.Close() }()
	return findAccount(name, u, io.LimitReader(passwd, maxDatabase), io.LimitReader(group, maxDatabase))
}

// openDatabase opens a regular file; none is an empty one.
func openDatabase(path string) (io.ReadCloser, error) {
	fd, err := openIn(path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return os.Open(os.DevNull)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("%s is not a regular file", path), err, f.Close())
	}
	return f, nil
}

func findAccount(name string, u specs.User, passwd, group io.Reader) (account, error) {
	a := account{uid: int(u.UID), gid: int(u.GID), umask: u.Umask}
	spec := name
	if name == "" {
		spec = strconv.Itoa(a.uid) + ":" + strconv.Itoa(a.gid) // for the home alone
	}
	found, err := user.GetExecUser(spec, &user.ExecUser{Home: "/"}, passwd, group)
	if err != nil {
		return account{}, &fault.Error{Reason: fault.NotFound, Op: "look up user", Subject: name, Cause: err}
	}
	a.home = found.Home
	if name != "" {
		a.uid, a.gid, a.groups = found.Uid, found.Gid, found.Sgids
	}
	for _, g := range u.AdditionalGids {
		a.groups = append(a.groups, int(g))
	}
	return a, nil
}
