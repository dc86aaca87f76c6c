package template

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestVerifyTakesADigestOnceAndComparesThen(t *testing.T) {
	s := At(t.TempDir())
	put(t, s, key("a"), "memory")
	for i, compared := range []bool{false, true, true} {
		if v, err := s.Verify(t.Context(), key("a")); err != nil || v.Damage != nil || v.Compared != compared {
			t.Errorf("verification %d: %+v, %v", i, v, err)
		}
	}
	if made, err := readRecord(filepath.Join(s.dir, key("a"))); err != nil || made.Boot != "" {
		t.Errorf("it is not on the disk: %+v, %v", made, err)
	}
	if used, err := s.Open(key("a")); err != nil {
		t.Errorf("it cannot be used: %v", err)
	} else {
		used.Close()
	}
}

// rot changes a file as a bad disk would: nothing but the content differs, as far as the file system tells.
func rot(t *testing.T, s Store, name, text string, at int64) {
	t.Helper()
	dir := filepath.Join(s.dir, key("a"))
	file, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteAt([]byte(text), at)
	info, statErr := file.Stat()
	made, recordErr := readRecord(dir)
	if err := errors.Join(err, statErr, recordErr, file.Close()); err != nil {
		t.Fatal(err)
	}
	switch name {
	case memoryFile:
		made.Memory = identify(info)
	case stateFile:
		made.State = identify(info)
	}
	if err := made.write(dir); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyFindsWhatTheFileSystemDoesNotTell(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, s Store){
		"a byte of the memory":        func(t *testing.T, s Store) { rot(t, s, memoryFile, "n", 1) },
		"a byte where memory was not": func(t *testing.T, s Store) { rot(t, s, memoryFile, "n", 1<<20-1) },
		"memory that moved": func(t *testing.T, s Store) {
			rot(t, s, memoryFile, strings.Repeat("\x00", 6), 0)
			rot(t, s, memoryFile, "memory", digestBlock)
		},
		"the devices": func(t *testing.T, s Store) { rot(t, s, stateFile, "n", 0) },
		"the console": func(t *testing.T, s Store) { rot(t, s, consoleFile, "n", 0) },
		"an edited file": func(t *testing.T, s Store) {
			if err := os.Chtimes(filepath.Join(s.dir, key("a"), memoryFile), time.Now(), time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		},
		"a missing file": func(t *testing.T, s Store) {
			if err := os.Remove(filepath.Join(s.dir, key("a"), consoleFile)); err != nil {
				t.Fatal(err)
			}
		},
		"a record that is none": func(t *testing.T, s Store) {
			if err := os.WriteFile(filepath.Join(s.dir, key("a"), recordFile), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := At(t.TempDir())
			put(t, s, key("a"), "memory")
			put(t, s, key("b"), "memory")
			if _, err := s.Verify(t.Context(), key("a")); err != nil {
				t.Fatal(err)
			}
			harm(t, s)
			if v, err := s.Verify(t.Context(), key("a")); err != nil || !errors.Is(v.Damage, ErrDamaged) {
				t.Errorf("found %+v, %v", v, err)
			}
			if left := names(t, s); len(left) != 1 || left[0] != key("b") {
				t.Errorf("left are %v", left)
			}
			if _, err := s.Verify(t.Context(), key("a")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("one that is gone gave %v", err)
			}
		})
	}
}

func TestHolesAndZerosAreTheSame(t *testing.T) {
	s := At(t.TempDir())
	put(t, s, key("a"), "memory")
	if _, err := s.Verify(t.Context(), key("a")); err != nil {
		t.Fatal(err)
	}
	rot(t, s, memoryFile, strings.Repeat("\x00", 3*digestBlock), digestBlock)
	if v, err := s.Verify(t.Context(), key("a")); err != nil || v.Damage != nil || !v.Compared {
		t.Errorf("found %+v, %v", v, err)
	}
}

func TestVerifyWaitsForWhoIsAtTheTemplateAndCanBeGivenUp(t *testing.T) {
	s := At(t.TempDir())
	put(t, s, key("a"), "memory")
	d, busy, err := s.Draft(key("a"), 1)
	if err != nil || busy {
		t.Fatal(busy, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Verify(ctx, key("a")); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	verified := make(chan error, 1)
	go func() {
		_, err := s.Verify(t.Context(), key("a"))
		verified <- err
	}()
	if err := d.Discard(); err != nil {
		t.Error(err)
	}
	if err := <-verified; err != nil {
		t.Error(err)
	}
	if _, err := s.Verify(t.Context(), "../x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a name that is no key gave %v", err)
	}
}
