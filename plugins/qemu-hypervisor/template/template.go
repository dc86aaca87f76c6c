// Package template keeps booted VMs on disk, from which others are started: the memory of each, the state of its devices, and what its console has said.
// It knows nothing of QEMU; package vm makes templates and starts VMs from them. This file is the store; draft.go makes templates; lock.go has one make a template while others
// wait; digest.go reads all of one; identity.go says when two files are the same, and when a template is as it was made.
//
// A store belongs to one user. A template appears in it whole or not at all, and is never changed after that.
package template

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/private"
	"github.com/vzctl/vzctl/sdk/bootid"
)

// version of what is written here and of how a key is made; templates of another are not found.
const version = 1

// Files of a template's directory.
const (
	memoryFile  = "memory"
	stateFile   = "state"
	consoleFile = "console"
	recordFile  = "template.json"
)

// ErrDamaged says that a template's files are not as they were made.
var ErrDamaged = errors.New("the template was changed after it was made")

// Store is a directory of templates.
type Store struct{ dir string }

// At returns the store in a directory, which need not exist.
func At(dir string) Store { return Store{dir} }

// Key names the template of all VMs of one shape. files are what such a VM boots, and boots with; a file that was replaced gives another key.
func Key(shape []string, files ...string) (string, error) {
	about := struct {
		Version int
		Shape   []string
		Files   []identity
	}{Version: version, Shape: shape}
	for _, path := range files {
		info, err := os.Stat(path)
		if err != nil {
			return "", err
		}
		about.Files = append(about.Files, identify(info))
	}
	text, err := json.Marshal(about)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16]), nil
}

func validKey(key string) bool { return len(key) == 32 && strings.Trim(key, "0123456789abcdef") == "" }

// record is template.json.
type record struct {
	Made          time.Time
	Description   string
	Memory, State identity
	Disks         []int   `json:",omitempty"`
	Sizes         []int64 `json:",omitempty"`
	// Boot is the host's boot id until the files are known to be on the disk: what a power failure tears may look whole.
	Boot string `json:",omitempty"`
	// Digest of all content, once it was taken; see digest.go.
	Digest string `json:",omitempty"`
}

// Template is one that can be used.
type Template struct {
	// Memory and State are open, and what they were when the template was made.
	Memory, State *os.File
	// Console is what the guest had said.
	Console []byte
	// Disks are the descriptors by which the process that was saved had its writable disks; nil: nobody knows.
	Disks []int
	// Sizes are those that the guest knows its disks by, in bytes.
	Sizes []int64
}

// Close closes the files.
func (t *Template) Close() {
	_ = t.Memory.Close()
	_ = t.State.Close()
}

// Open returns a template, or fs.ErrNotExist, or ErrDamaged.
func (s Store) Open(key string) (*Template, error) {
	if err := s.own(); err != nil {
		return nil, err
	}
	dir := filepath.Join(s.dir, key)
	made, err := readRecord(dir)
	if err != nil {
		return nil, err
	}
	t := &Template{Disks: made.Disks, Sizes: made.Sizes}
	if t.Memory, err = openSame(filepath.Join(dir, memoryFile), made.Memory); err != nil {
		return nil, err
	}
	if t.State, err = openSame(filepath.Join(dir, stateFile), made.State); err != nil {
		_ = t.Memory.Close()
		return nil, err
	}
	if t.Console, err = os.ReadFile(filepath.Join(dir, consoleFile)); err != nil {
		t.Close()
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	now := time.Now()
	_ = os.Chtimes(filepath.Join(dir, recordFile), now, now) // when it was last used, for List
	return t, nil
}

func readRecord(dir string) (record, error) {
	text, err := os.ReadFile(filepath.Join(dir, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, fs.ErrNotExist
	}
	var made record
	if err == nil {
		err = json.Unmarshal(text, &made)
	}
	if err != nil {
		return record{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if made.Boot != "" {
		if now, err := bootid.Read(); err != nil || now != made.Boot {
			return record{}, fmt.Errorf("%w: the host went down before it was on the disk", ErrDamaged)
		}
	}
	return made, nil
}

// write replaces the record in one step.
func (r record) write(dir string) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, recordFile)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Sync makes a template outlive the host's uptime. It takes as long as the disk does.
func (s Store) Sync(key string) error {
	dir := filepath.Join(s.dir, key)
	made, err := readRecord(dir)
	if err != nil || made.Boot == "" {
		return err
	}
	for _, name := range []string{memoryFile, stateFile, consoleFile} {
		file, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if err := errors.Join(file.Sync(), file.Close()); err != nil {
			return err
		}
	}
	made.Boot = ""
	return made.write(dir)
}

// openSame opens a file for reading that is what it was, and nobody else's.
func openSame(path string, was identity) (*os.File, error) {
	file, info, err := openPrivate(path)
	if err != nil {
		return nil, err
	}
	if identify(info) != was {
		_ = file.Close()
		return nil, fmt.Errorf("%w: %s", ErrDamaged, path)
	}
	return file, nil
}

// openPrivate opens a file for reading that is nobody else's.
func openPrivate(path string) (*os.File, fs.FileInfo, error) {
	file, info, err := private.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return file, info, nil
}

// Remove takes a template away, or gives fs.ErrNotExist. VMs that were started from it go on.
func (s Store) Remove(key string) error {
	if !validKey(key) {
		return fs.ErrNotExist
	}
	dir := filepath.Join(s.dir, key)
	if _, err := os.Lstat(dir); err != nil {
		return err
	}
	return errors.Join(s.discard(dir), s.removeLock(key))
}

// discard renames first, so that nobody finds half of it. What is left if it is killed then, Prune removes.
func (s Store) discard(dir string) error {
	grave := filepath.Join(s.dir, stagingPrefix+filepath.Base(dir)+"-"+rand.Text())
	if err := os.Rename(dir, grave); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return os.RemoveAll(grave)
}

// Limits of what is kept.
type Limits struct {
	Size   int64         // in bytes of the disk, all together; those that were not used for longest go first
	Unused time.Duration // one that was not used for that long goes; 0: none does
}

// Prune removes what those who were killed while making or removing have left, damaged templates, and those that are beyond the limits. It keeps the one with the key.
func (s Store) Prune(limits Limits, keep string) error {
	list, err := s.List()
	if err != nil {
		return err
	}
	var size int64
	for _, e := range list {
		if !e.Damaged {
			size += e.Size
		}
		old := limits.Unused > 0 && time.Since(e.Used) > limits.Unused
		if (size > limits.Size || old || e.Damaged) && e.Key != keep {
			if removeErr := s.Remove(e.Key); !errors.Is(removeErr, fs.ErrNotExist) { // somebody else may prune, too
				err = errors.Join(err, removeErr)
			}
		}
	}
	left, globErr := filepath.Glob(filepath.Join(s.dir, stagingPrefix+"*"))
	for _, dir := range left {
		err = errors.Join(err, s.bury(dir))
	}
	locks, lockErr := filepath.Glob(filepath.Join(s.dir, "*"+lockSuffix))
	for _, path := range locks {
		err = errors.Join(err, s.removeLock(strings.TrimSuffix(filepath.Base(path), lockSuffix)))
	}
	return errors.Join(err, globErr, lockErr)
}

// bury removes what discard has renamed, or a draft that nobody is at.
func (s Store) bury(dir string) error {
	key := strings.TrimPrefix(filepath.Base(dir), stagingPrefix)
	if !validKey(key) {
		return os.RemoveAll(dir)
	}
	lock, busy, err := s.lock(key)
	if busy || err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(dir), lock.Close())
}

// Entry is what List tells of a template.
type Entry struct {
	Key         string
	Description string
	Made, Used  time.Time
	// Size is what it takes of the disk, in bytes.
	Size int64
	// Damaged templates are never used.
	Damaged bool
}

// List returns all templates, the one that was used last first.
func (s Store) List() ([]Entry, error) {
	dirs, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []Entry
	for _, d := range dirs {
		if validKey(d.Name()) {
			list = append(list, s.entry(d.Name()))
		}
	}
	slices.SortFunc(list, func(a, b Entry) int { return b.Used.Compare(a.Used) })
	return list, nil
}

func (s Store) entry(key string) Entry {
	dir := filepath.Join(s.dir, key)
	e := Entry{Key: key}
	made, err := readRecord(dir)
	e.Made, e.Description, e.Damaged = made.Made, made.Description, err != nil
	for name, was := range map[string]identity{memoryFile: made.Memory, stateFile: made.State, consoleFile: {}, recordFile: {}} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			e.Damaged = true
			continue
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			e.Size += stat.Blocks * 512
		}
		if was != (identity{}) && identify(info) != was {
			e.Damaged = true
		}
		if name == recordFile {
			e.Used = info.ModTime()
		}
	}
	return e
}
