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

const (
	// maxRemembered is how long a database is that is remembered, in bytes.
	maxRemembered = 64 << 10
	// settled is how long a file must not have changed when it is read, so that a later change surely has another time.
	settled = time.Second
)

// Known is what was found out of a container for its further processes, and holds for the next one. It may be used by many at once. The zero value knows nothing.
type Known struct {
	mu sync.Mutex
	// databases are passwd and group, as they were read from outside of the container: to find, open and read them takes several times as long as to see that they are the same.
	databases map[string]database
	limits    limits
}

type database struct {
	state state
	text  string
}

// limits are those of the last process.
type limits struct {
	capabilities    *specs.LinuxCapabilities // of the container's first process, mostly
	noNewPrivileges bool
	user            account
	filters         []Filter
	script          *vfork.Script // which only the kernel reads
}

func (l *limits) are(p *specs.Process, a account, filters []Filter) bool {
	return l.script != nil && l.capabilities == p.Capabilities && l.noNewPrivileges == p.NoNewPrivileges && l.user.uid == a.uid && l.user.gid == a.gid && slices.Equal(l.user.groups, a.groups) &&
		len(l.filters) == len(filters) && (len(filters) == 0 || &l.filters[0] == &filters[0])
}

// limit returns what a process does to limit itself, see Further.limit.
func (k *Known) limit(p *specs.Process, a account, filters []Filter) (*vfork.Script, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p.Capabilities == nil || !k.limits.are(p, a, filters) {
		f := &Further{Script: &vfork.Script{}}
		if err := f.limit(p, a, filters); err != nil {
			return nil, err
		}
		k.limits = limits{p.Capabilities, p.NoNewPrivileges, a, filters, f.Script}
	}
	return k.limits.script, nil
}

// state is what changes when a file does.
type state struct {
	device, inode   uint64
	size            int64
	modified, other unix.Timespec // content, and anything
}

// open is openDatabase.
func (k *Known) open(in root, path string) (io.ReadCloser, error) {
	before, err := look(in, path)
	if err != nil { // which openDatabase says
		return openDatabase(in, path)
	}
	k.mu.Lock()
	known, ok := k.databases[path]
	k.mu.Unlock()
	if ok && known.state == before {
		return io.NopCloser(strings.NewReader(known.text)), nil
	}
	file, err := openDatabase(in, path)
	if err != nil || before.size > maxRemembered {
		return file, err
	}
	text, err := io.ReadAll(io.LimitReader(file, maxDatabase))
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	if after, err := look(in, path); err == nil && after == before && len(text) <= maxRemembered && time.Since(time.Unix(before.other.Unix())) > settled {
		k.mu.Lock()
		if k.databases == nil {
			k.databases = map[string]database{}
		}
		k.databases[path] = database{before, string(text)}
		k.mu.Unlock()
	}
	return io.NopCloser(strings.NewReader(string(text))), nil
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
	return state{uint64(stat.Dev), stat.Ino, stat.Size, stat.Mtim, stat.Ctim}, nil
}
