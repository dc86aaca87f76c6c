package helper

import (
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/vfork"
)

// settled is how long a file must not have changed when it is read, so that a later change surely has another time.
const settled = time.Second

// Known is what was found out of a container for a further process, and holds for the next one if that asks for the same. It may be used by many at once. The zero value knows nothing.
type Known struct {
	mu     sync.Mutex
	user   known
	limits limits
}

// known is an account, what was asked for, and the files that say so: to open and read them takes several times as long as to see that they are the same.
type known struct {
	name    string
	groups  []string
	spec    specs.User
	files   map[string]state
	account account
}

// state is what changes when a file does.
type state struct {
	device, inode   uint64
	size            int64
	modified, other unix.Timespec // content, and anything
}

// lookUp is that of user.go, from outside of the container.
func (k *Known) lookUp(in root, name string, groups []string, u specs.User) (account, error) {
	k.mu.Lock()
	last := k.user
	k.mu.Unlock()
	if last.answers(name, groups, u) && last.holds(in, 0) {
		last.account.umask = u.Umask
		return last.account, nil
	}
	next := known{name: name, groups: groups, spec: u, files: map[string]state{}}
	var err error
	next.account, err = lookUp(func(path string) (io.ReadCloser, error) {
		next.files[path], _ = look(in, path) // openDatabase says what is wrong
		return openDatabase(in, path)
	}, name, groups, u)
	if err == nil && next.holds(in, settled) {
		k.mu.Lock()
		k.user = next
		k.mu.Unlock()
	}
	return next.account, err
}

func (k *known) answers(name string, groups []string, u specs.User) bool {
	return len(k.files) > 0 && k.name == name && slices.Equal(k.groups, groups) && k.spec.UID == u.UID && k.spec.GID == u.GID && slices.Equal(k.spec.AdditionalGids, u.AdditionalGids)
}

// holds reports whether the files are as they were, and have been for so long.
func (k *known) holds(in root, since time.Duration) bool {
	for path, before := range k.files {
		if since > 0 && time.Since(time.Unix(before.other.Unix())) <= since {
			return false
		}
		if now, err := glance(in, path); err == nil && now == before {
			continue
		}
		if now, err := look(in, path); err != nil || now != before {
			return false
		}
	}
	return true
}

// glance is look in one system call instead of three, which may see another file: that of a link, or one out of the container, if a link to there is on the way. What sees the same file as look has seen
// it needs nothing else, as nothing of a file is used but that it is the same.
func glance(in root, path string) (state, error) {
	var stat unix.Stat_t
	err := unix.Fstatat(int(in), strings.TrimLeft(path, "/"), &stat, unix.AT_SYMLINK_NOFOLLOW)
	return stateOf(&stat), err
}

func look(in root, path string) (state, error) {
	at, err := in.open(path, unix.O_PATH, 0)
	if err != nil {
		return state{}, err
	}
	var stat unix.Stat_t
	if err := errors.Join(unix.Fstat(at, &stat), unix.Close(at)); err != nil {
		return state{}, err
	}
	return stateOf(&stat), nil
}

func stateOf(s *unix.Stat_t) state {
	return state{uint64(s.Dev), s.Ino, s.Size, s.Mtim, s.Ctim}
}

// limits are those of the last process. That its container has a user namespace of its own goes for all of them.
type limits struct {
	capabilities    *specs.LinuxCapabilities // of the container's first process, mostly
	noNewPrivileges bool
	resources       []specs.POSIXRlimit
	user            account
	filters         []Filter
	script          *vfork.Script // which only the kernel reads
}

func (l *limits) are(p *specs.Process, a account, filters []Filter) bool {
	return l.script != nil && l.capabilities == p.Capabilities && l.noNewPrivileges == p.NoNewPrivileges && l.user.uid == a.uid && l.user.gid == a.gid && slices.Equal(l.user.groups, a.groups) &&
		slices.Equal(l.resources, p.Rlimits) && len(l.filters) == len(filters) && (len(filters) == 0 || &l.filters[0] == &filters[0])
}

// limit returns what a process does to limit itself, see Further.limit.
func (k *Known) limit(p *specs.Process, a account, mapped bool, filters []Filter) (*vfork.Script, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p.Capabilities == nil || !k.limits.are(p, a, filters) {
		f := &Further{Script: &vfork.Script{}}
		if err := f.limit(p, a, mapped, filters); err != nil {
			return nil, err
		}
		k.limits = limits{p.Capabilities, p.NoNewPrivileges, slices.Clone(p.Rlimits), a, filters, f.Script}
	}
	return k.limits.script, nil
}
