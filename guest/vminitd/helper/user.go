package helper

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/idmap"
	"github.com/vzctl/vzctl/guest/vminitd/failure"
)

// maxDatabase bounds the container's passwd and group, which are not to be trusted, in bytes.
const maxDatabase = 16 << 20

// The lookup is that of github.com/moby/sys/user, which cannot be used here: it imports path/filepath, and with that its turn to be initialized,
// and the helper's, comes after gRPC's (see the package comment).

// account is who a process runs as.
type account struct {
	uid, gid int
	groups   []int
	home     string
	umask    *uint32
}

// mask is of the modes of files that the process makes.
func (a account) mask() int {
	if a.umask == nil {
		return 0o022
	}
	return int(*a.umask & 0o777)
}

// check says that the user whom the name stands for is none of the container's user namespace.
func (a account) check(name string, ids *idmap.Maps) error {
	if err := ids.Check(a.uid, append([]int{a.gid}, a.groups...)...); err != nil {
		if name == "" {
			name = strconv.Itoa(a.uid)
		}
		return userError(name, err)
	}
	return nil
}

// opener opens a database of the container.
type opener func(path string) (io.ReadCloser, error)

// lookUp finds a user in the container's own passwd and group.
func lookUp(open opener, name string, groups []string, u specs.User) (account, error) {
	passwd, err := open("/etc/passwd")
	if err != nil {
		return account{}, err
	}
	defer func() { _ = passwd.Close() }()
	group := &lazily{open: open, path: "/etc/group"}
	defer group.close()
	a, err := findAccount(name, u, io.LimitReader(passwd, maxDatabase), io.LimitReader(group, maxDatabase))
	for _, name := range groups {
		if err == nil {
			err = a.addGroup(open, name)
		}
	}
	return a, err
}

// lazily is a database that is opened when it is read: mostly it is not.
type lazily struct {
	open opener
	path string
	file io.ReadCloser
}

func (d *lazily) Read(p []byte) (n int, err error) {
	if d.file == nil {
		if d.file, err = d.open(d.path); err != nil {
			return 0, err
		}
	}
	return d.file.Read(p)
}

func (d *lazily) close() {
	if d.file != nil {
		_ = d.file.Close()
	}
}

// addGroup looks a further group up.
func (a *account) addGroup(open opener, name string) error {
	group, err := open("/etc/group")
	if err != nil {
		return err
	}
	defer func() { _ = group.Close() }()
	further := account{}
	if err := further.findGroups(name, name, true, "", io.LimitReader(group, maxDatabase)); err != nil {
		return err
	}
	a.groups = append(a.groups, further.gid)
	return nil
}

// openDatabase opens a regular file; none is an empty one.
func openDatabase(in root, path string) (io.ReadCloser, error) {
	open := in.regular
	if in == own {
		open = func(path string) (int, error) { return in.open(path, unix.O_RDONLY|unix.O_NONBLOCK, 0) }
	}
	fd, err := open(path)
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

// findAccount is the pure part. With an empty name the user is that of the spec, and only the home is looked up.
func findAccount(name string, u specs.User, passwd, group io.Reader) (account, error) {
	a := account{uid: int(u.UID), gid: int(u.GID), home: "/", umask: u.Umask}
	userName, groupName, hasGroup := strings.Cut(name, ":")
	if name == "" {
		userName = strconv.Itoa(a.uid)
	}
	entry, err := findEntry(passwd, 7, userName)
	if err != nil {
		return a, err
	}
	number, isNumber := parseID(userName)
	switch {
	case entry != nil:
		uid, uidOK := parseID(entry[2])
		gid, gidOK := parseID(entry[3])
		if !uidOK || !gidOK {
			return a, userError(name, errors.New("its line in /etc/passwd is damaged"))
		}
		if entry[5] != "" {
			a.home = entry[5]
		}
		if name != "" {
			a.uid, a.gid = uid, gid
		}
	case isNumber:
		if name != "" {
			a.uid, a.gid = number, 0
		}
	default:
		return a, userError(name, fmt.Errorf("no user %.100q in the container's /etc/passwd", userName))
	}
	member := ""
	if name != "" && !hasGroup && entry != nil {
		member = entry[0]
	}
	if err := a.findGroups(name, groupName, hasGroup, member, group); err != nil {
		return a, err
	}
	if name != "" && !slices.Contains(a.groups, a.gid) {
		// As login does: who gives up its group by setgid keeps what the group was denied (CVE-2022-2989).
		a.groups = append([]int{a.gid}, a.groups...)
	}
	for _, g := range u.AdditionalGids {
		a.groups = append(a.groups, int(g))
	}
	return a, nil
}

// findGroups sets the group that was asked for or else those that have the member.
func (a *account) findGroups(name, groupName string, wanted bool, member string, group io.Reader) error {
	if wanted {
		entry, err := findEntry(group, 4, groupName)
		if err != nil {
			return err
		}
		text := groupName
		if entry != nil {
			text = entry[2]
		}
		gid, ok := parseID(text)
		if !ok {
			return userError(name, fmt.Errorf("no group %.100q in the container's /etc/group", groupName))
		}
		a.gid = gid
		return nil
	}
	if member == "" {
		return nil
	}
	return eachEntry(group, 4, func(entry []string) bool {
		gid, ok := parseID(entry[2])
		if ok && slices.Contains(strings.Split(entry[3], ","), member) && len(a.groups) < maxGroups {
			a.groups = append(a.groups, gid)
		}
		return true
	})
}

// maxGroups is the kernel's NGROUPS_MAX.
const maxGroups = 65536

// findEntry returns the first line whose name or number is the word; nil if there is none.
func findEntry(database io.Reader, fields int, word string) (found []string, err error) {
	err = eachEntry(database, fields, func(entry []string) bool {
		if entry[0] == word || entry[2] == word {
			found = entry
		}
		return found == nil
	})
	return found, err
}

// eachEntry calls f with the fields of each line, as many as asked for, until it returns false.
func eachEntry(database io.Reader, fields int, f func([]string) bool) error {
	text, err := io.ReadAll(database)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		entry := append(strings.SplitN(line, ":", fields+1), make([]string, fields)...)[:fields] // a line may have millions
		if entry[0] != "" && !f(entry) {
			return nil
		}
	}
	return nil
}

func parseID(text string) (int, bool) {
	n, err := strconv.ParseUint(text, 10, 31)
	return int(n), err == nil
}

func userError(name string, cause error) error {
	return &failure.Error{Reason: failure.NotFound, Op: "look up user", Subject: name, Cause: cause}
}
