package template

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vzctl/vzctl/sdk/bootid"
)

// put makes a template whose memory is the text.
func put(t *testing.T, s Store, key, text string) {
	t.Helper()
	d, _, err := s.Draft(key, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Memory.WriteString(text)
	if err := errors.Join(err, d.Commit(About{Description: "of a test", Console: []byte("console")}), d.Discard()); err != nil {
		t.Fatal(err)
	}
}

func key(c string) string { return strings.Repeat(c, 32) }

func names(t *testing.T, s Store) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".lock") {
			all = append(all, e.Name())
		}
	}
	return all
}

func TestTemplateIsFoundWholeOrNotAtAll(t *testing.T) {
	s := At(filepath.Join(t.TempDir(), "new"))
	if _, err := s.Open(key("a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty store gave %v", err)
	}
	d, busy, err := s.Draft(key("a"), 1<<20)
	if err != nil || busy {
		t.Fatal(busy, err)
	}
	if err := os.WriteFile(filepath.Join(d.Dir, "placeholder"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, busy, err := s.Draft(key("a"), 1<<20); !busy || err != nil {
		t.Errorf("a second maker got %v, %v", busy, err)
	}
	if other, busy, err := s.Draft(key("b"), 1<<20); busy || err != nil || other.Discard() != nil {
		t.Errorf("the maker of another got %v, %v", busy, err)
	}
	if _, err := s.Open(key("a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a template gave %v", err)
	}
	if _, err := d.Memory.WriteString("memory"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Commit(About{Console: []byte("said"), Disks: []int{7, 9}, Sizes: []int64{1 << 40, 4096}}), d.Discard()); err != nil {
		t.Fatal(err)
	}
	made, err := s.Open(key("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	text := make([]byte, 6)
	if _, err := io.ReadFull(made.Memory, text); err != nil || string(text) != "memory" || string(made.Console) != "said" || !slices.Equal(made.Disks, []int{7, 9}) ||
		!slices.Equal(made.Sizes, []int64{1 << 40, 4096}) {
		t.Errorf("read %q, %q, %v and %v, %v", text, made.Console, made.Disks, made.Sizes, err)
	}
	if left := names(t, s); !slices.Equal(left, []string{key("a")}) {
		t.Errorf("in the store are %v", left)
	}
	if files, _ := os.ReadDir(filepath.Join(s.dir, key("a"))); len(files) != 4 {
		t.Errorf("the template has %d files", len(files))
	}
	put(t, s, key("a"), "another")
	if again, err := s.Open(key("a")); err != nil {
		t.Errorf("one that replaces another: %v", err)
	} else {
		again.Close()
	}
}

func TestTemplateThatMayBeTornIsNotUsedAfterAReboot(t *testing.T) {
	s := At(t.TempDir())
	put(t, s, key("a"), "memory")
	reboot := func() {
		dir := filepath.Join(s.dir, key("a"))
		text, err := os.ReadFile(filepath.Join(dir, recordFile))
		now, bootErr := bootid.Read()
		if err := errors.Join(err, bootErr); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, recordFile), []byte(strings.ReplaceAll(string(text), now, "before")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Sync(key("a")); err != nil {
		t.Fatal(err)
	}
	reboot()
	synced, err := s.Open(key("a"))
	if err != nil {
		t.Fatalf("one that is on the disk: %v", err)
	}
	synced.Close()
	put(t, s, key("a"), "memory")
	reboot()
	if _, err := s.Open(key("a")); !errors.Is(err, ErrDamaged) {
		t.Errorf("one that may not be gave %v", err)
	}
}

func TestKeyChangesWithWhatIsBooted(t *testing.T) {
	kernel := filepath.Join(t.TempDir(), "kernel")
	write := func(text string) string {
		t.Helper()
		if err := os.WriteFile(kernel, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := Key([]string{"shape"}, kernel)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first := write("one")
	if again, err := Key([]string{"shape"}, kernel); err != nil || again != first || !validKey(first) {
		t.Errorf("keys %s and %s, %v", first, again, err)
	}
	if other, _ := Key([]string{"other"}, kernel); other == first {
		t.Error("another shape has the same key")
	}
	write("two")
	later := time.Now().Add(time.Hour) // file systems keep time in ticks, and both may be of the same
	if err := os.Chtimes(kernel, later, later); err != nil {
		t.Fatal(err)
	}
	if replaced, err := Key([]string{"shape"}, kernel); err != nil || replaced == first {
		t.Errorf("another kernel at the same path has the same key, %v", err)
	}
	if _, err := Key(nil, kernel+"x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a kernel that is not there gave %v", err)
	}
}

func TestPruneKeepsWhatWasUsedLast(t *testing.T) {
	s := At(t.TempDir())
	for i, c := range []string{"a", "b", "c", "d"} {
		put(t, s, key(c), strings.Repeat("x", 64<<10))
		used := time.Now().Add(time.Duration(i-10) * time.Hour)
		if err := os.Chtimes(filepath.Join(s.dir, key(c), recordFile), used, used); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(s.dir, key("d"), stateFile), []byte("edited"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, killed := range []string{stagingPrefix + key("e"), stagingPrefix + key("a") + "-0123"} { // while making, and while removing
		if err := os.Mkdir(filepath.Join(s.dir, killed), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	busy, _, err := s.Draft(key("f"), 1)
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.List()
	if err != nil || len(list) != 4 || list[0].Key != key("d") || !list[0].Damaged || list[1].Damaged || list[1].Description != "of a test" || list[1].Size < 64<<10 || list[1].Size > 256<<10 {
		t.Fatalf("%+v, %v", list, err)
	}
	if err := s.Prune(Limits{Size: list[1].Size}, key("a")); err != nil {
		t.Fatal(err)
	}
	if left := names(t, s); !slices.Equal(left, []string{key("a"), key("c"), stagingPrefix + key("f")}) {
		t.Errorf("left are %v", left)
	}
	if err := s.Prune(Limits{Size: 1 << 40, Unused: 7*time.Hour + 30*time.Minute}, ""); err != nil { // c was used 8 hours ago, a 10
		t.Fatal(err)
	}
	if left := names(t, s); !slices.Equal(left, []string{stagingPrefix + key("f")}) {
		t.Errorf("left of old ones are %v", left)
	}
	put(t, s, key("a"), "x")
	if err := errors.Join(busy.Discard(), s.Remove(key("a"))); err != nil {
		t.Error(err)
	}
	if err := s.Remove(key("a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("one that is not there gave %v", err)
	}
	if err := s.Remove("../x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a name that is no key gave %v", err)
	}
}

func TestLocksGoWithTheirTemplates(t *testing.T) {
	s := At(t.TempDir())
	for _, c := range []string{"a", "b"} {
		put(t, s, key(c), "memory")
	}
	failed, _, err := s.Draft(key("c"), 1)
	if err != nil {
		t.Fatal(err)
	}
	busy, _, busyErr := s.Draft(key("d"), 1)
	if err := errors.Join(failed.Discard(), busyErr, s.Remove(key("b")), s.Prune(Limits{Size: 1 << 30}, "")); err != nil {
		t.Fatal(err)
	}
	var left []string
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{key("a"), key("a") + ".lock", key("d") + ".lock", stagingPrefix + key("d")}; !slices.Equal(left, want) {
		t.Errorf("left are %v; want %v", left, want)
	}
	if _, stillBusy, err := s.Draft(key("d"), 1); !stillBusy || err != nil {
		t.Errorf("a second maker got %v, %v", stillBusy, err)
	}
	if err := s.Await(t.Context(), key("b")); err != nil {
		t.Errorf("whoever waits for a maker that is gone gets %v", err)
	}
	if err := busy.Discard(); err != nil {
		t.Error(err)
	}
}

// A lock that is removed between its opening and its locking must not let two makers in.
func TestOneMakerAtATimeThoughLocksAreRemoved(t *testing.T) {
	s := At(t.TempDir())
	var makers atomic.Int32
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 200 {
				d, busy, err := s.Draft(key("a"), 1)
				if err != nil {
					t.Error(err)
					return
				}
				if busy {
					continue
				}
				if at := makers.Add(1); at != 1 {
					t.Errorf("there are %d makers", at)
				}
				makers.Add(-1)
				if err := errors.Join(d.Discard(), s.Prune(Limits{Size: 1 << 30}, "")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

func TestStoreThatOthersCanChangeIsNotUsed(t *testing.T) {
	for name, mode := range map[string]fs.FileMode{"written by all": 0o707, "written by a group": 0o770} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "templates")
			s := At(dir)
			put(t, s, key("a"), "memory")
			if err := os.Chmod(dir, mode); err != nil {
				t.Fatal(err)
			}
			if made, err := s.Open(key("a")); err == nil {
				made.Close()
				t.Error("its template is used")
			}
			if d, _, err := s.Draft(key("b"), 1); err == nil {
				_ = d.Discard()
				t.Error("a template is made in it")
			}
		})
	}
	t.Run("another's", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("giving files away needs root")
		}
		dir := filepath.Join(t.TempDir(), "templates")
		s := At(dir)
		put(t, s, key("a"), "memory")
		if err := os.Chown(dir, 65534, 65534); err != nil { // who has the directory can rename one template to another
			t.Fatal(err)
		}
		if made, err := s.Open(key("a")); err == nil {
			made.Close()
			t.Error("its template is used")
		}
		if d, _, err := s.Draft(key("b"), 1); err == nil {
			_ = d.Discard()
			t.Error("a template is made in it")
		}
	})
}

func TestTemplateThatIsNotAsItWasMadeIsDamaged(t *testing.T) {
	edit := func(path string) error { // the owner can set the time of modification back, but not that of the change
		before, err := os.Stat(path)
		if err != nil {
			return err
		}
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = file.WriteAt([]byte("X"), 0)
		return errors.Join(err, file.Close(), os.Chtimes(path, before.ModTime(), before.ModTime()))
	}
	damages := map[string]func(path string) error{
		"cut":       func(path string) error { return os.Truncate(path, 3) },
		"longer":    func(path string) error { return os.Truncate(path, 2<<20) },
		"edited":    edit,
		"gone":      os.Remove,
		"a link":    func(path string) error { return errors.Join(os.Rename(path, path+"2"), os.Symlink(path+"2", path)) },
		"copied":    func(path string) error { return errors.Join(os.Rename(path, path+"2"), os.Link(path+"2", path)) },
		"directory": func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
		"a FIFO":    func(path string) error { return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)) },
	}
	for _, file := range []string{memoryFile, stateFile} {
		for name, damage := range damages {
			t.Run(file+" "+name, func(t *testing.T) {
				s := At(t.TempDir())
				put(t, s, key("a"), "memory")
				if err := damage(filepath.Join(s.dir, key("a"), file)); err != nil {
					t.Fatal(err)
				}
				if made, err := s.Open(key("a")); !errors.Is(err, ErrDamaged) {
					t.Errorf("%v, %v", made, err)
				}
				if list, err := s.List(); err != nil || len(list) != 1 || !list[0].Damaged {
					t.Errorf("the list is %+v, %v", list, err)
				}
				put(t, s, key("a"), "memory") // and can be replaced
				if made, err := s.Open(key("a")); err != nil {
					t.Error(err)
				} else {
					made.Close()
				}
			})
		}
	}
	for name, record := range map[string]string{"no JSON": "x", "empty": "", "of nothing": "{}", "too large a number": `{"Memory":{"Size":1e99}}`} {
		t.Run("record "+name, func(t *testing.T) {
			s := At(t.TempDir())
			put(t, s, key("a"), "memory")
			if err := os.WriteFile(filepath.Join(s.dir, key("a"), recordFile), []byte(record), 0o600); err != nil {
				t.Fatal(err)
			}
			if made, err := s.Open(key("a")); !errors.Is(err, ErrDamaged) {
				t.Errorf("%v, %v", made, err)
			}
		})
	}
}
