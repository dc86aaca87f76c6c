// Package answers keeps what plugins answered, so that a question that was asked before takes no process, and what guests say of themselves. An answer is kept with the
// files that it depends on, a plugin's own among them, and is good while none of them has changed.
package answers

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/vzctl/vzctl/core/store"
)

// Book is a directory with a file for each answer. It may be removed at any time, and several processes may use it at once.
type Book struct {
	Dir string
}

// File is what tells that something on disk has changed.
type File struct {
	Path    string `json:"path"`
	Missing bool   `json:"missing,omitempty"`
	Device  uint64 `json:"device,omitempty"`
	Inode   uint64 `json:"inode,omitempty"`
	Size    int64  `json:"size,omitempty"`
	Mode    uint32 `json:"mode,omitempty"`
	User    uint32 `json:"user,omitempty"`
	// Modified and Changed are nanoseconds since the epoch; nobody can set the second one.
	Modified int64 `json:"modified,omitempty"`
	Changed  int64 `json:"changed,omitempty"`
}

// Look returns how the files at the paths are now, links followed. That one is missing is no error.
func Look(paths ...string) ([]File, error) {
	files := make([]File, len(paths))
	for i, path := range paths {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
			files[i] = File{Path: path, Missing: true}
			continue
		case err != nil:
			return nil, err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return nil, errors.ErrUnsupported
		}
		files[i] = File{Path: path, Device: uint64(stat.Dev), Inode: stat.Ino, Size: info.Size(), Mode: uint32(info.Mode()), User: stat.Uid,
			Modified: info.ModTime().UnixNano(), Changed: changed(stat)}
	}
	return files, nil
}

// tick is more than the clock of any file system jumps at once: what changed less than that before somebody looked may change again unseen.
const tick = 2 * time.Second

// Settled says whether all files were last changed so long before a moment that who read them after it read what Look has seen.
func Settled(files []File, before time.Time) bool {
	return !slices.ContainsFunc(files, func(f File) bool { return time.Unix(0, f.Changed).Add(tick).After(before) })
}

type kept struct {
	Question []string `json:"question"`
	Files    []File   `json:"files"`
	Answer   any      `json:"answer"`
}

// Get reads the answer to a question into a variable, and says whether there is one that is still good.
func (b Book) Get(answer any, question ...string) bool {
	k := kept{Answer: answer}
	if err := store.ReadJSON(b.path(question), &k); err != nil || !slices.Equal(k.Question, question) {
		return false
	}
	paths := make([]string, len(k.Files))
	for i, f := range k.Files {
		paths[i] = f.Path
	}
	now, err := Look(paths...)
	return err == nil && slices.Equal(now, k.Files)
}

// Forget removes the answer to a question. That there is none is no error.
func (b Book) Forget(question ...string) error {
	if err := os.Remove(b.path(question)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// most is how many answers are kept.
const most = 256

// Put keeps an answer. The files are those it depends on, as they were when it was given.
func (b Book) Put(answer any, files []File, question ...string) error {
	if err := os.MkdirAll(b.Dir, 0o700); err != nil {
		return err
	}
	if err := store.WriteJSON(b.path(question), kept{Question: question, Files: files, Answer: answer}, false); err != nil {
		return err
	}
	return b.shrink()
}

// shrink removes the oldest answers if there are too many.
func (b Book) shrink() error {
	entries, err := os.ReadDir(b.Dir)
	if err != nil || len(entries) <= most {
		return err
	}
	age := map[string]time.Time{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			age[e.Name()] = info.ModTime()
		}
	}
	slices.SortFunc(entries, func(x, y fs.DirEntry) int {
		return cmp.Or(age[x.Name()].Compare(age[y.Name()]), strings.Compare(x.Name(), y.Name()))
	})
	for _, e := range entries[:len(entries)-most/2] {
		if err := os.Remove(filepath.Join(b.Dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (b Book) path(question []string) string {
	return filepath.Join(b.Dir, digest.FromString(strings.Join(question, "\x00")).Encoded()+".json")
}
