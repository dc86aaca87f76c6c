package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func write(content string) func(*os.File) error {
	return func(f *os.File) error {
		_, err := f.WriteString(content)
		return err
	}
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestFileIsMadeOnce(t *testing.T) {
	d := Dir{t.TempDir(), ".img"}
	for i, wantMade := range []bool{true, false} {
		path, made, err := d.Get(context.Background(), "k", exists, write("content"))
		if err != nil || made != wantMade || path != filepath.Join(d.Path, "k.img") {
			t.Fatalf("call %d: %q, %v, %v", i, path, made, err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != "content" {
			t.Errorf("content %q, %v", b, err)
		}
	}
	if got := names(t, d.Path); !slices.Equal(got, []string{"k.img"}) {
		t.Errorf("files %q", got)
	}
}

func TestOfManyAtOnceOneMakesIt(t *testing.T) {
	d := Dir{t.TempDir(), ".img"}
	var makers atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_, made, err := d.Get(context.Background(), "k", exists, write("content"))
			if err != nil {
				t.Error(err)
			}
			if made {
				makers.Add(1)
			}
		})
	}
	wg.Wait()
	if makers.Load() != 1 {
		t.Errorf("%d makers", makers.Load())
	}
	if got := names(t, d.Path); !slices.Equal(got, []string{"k.img"}) {
		t.Errorf("files %q", got)
	}
}

func TestNothingIsLeftOfAFailure(t *testing.T) {
	d := Dir{t.TempDir(), ".img"}
	_, _, err := d.Get(context.Background(), "k", exists, func(f *os.File) error {
		return errors.Join(write("half")(f), unix.ENOSPC)
	})
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error %v", err)
	}
	if got := names(t, d.Path); len(got) != 0 {
		t.Errorf("files %q", got)
	}
}

func TestLeftoverOfACrashIsTakenOver(t *testing.T) {
	d := Dir{t.TempDir(), ".img"}
	if err := os.WriteFile(filepath.Join(d.Path, "k.img.partial"), []byte("longer than what comes now"), 0o600); err != nil {
		t.Fatal(err)
	}
	path, made, err := d.Get(context.Background(), "k", exists, write("new"))
	if err != nil || !made {
		t.Fatal(made, err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "new" {
		t.Errorf("content %q, %v", b, err)
	}
}

func TestInvalidFileIsMadeAgain(t *testing.T) {
	d := Dir{t.TempDir(), ".img"}
	if err := os.WriteFile(filepath.Join(d.Path, "k.img"), []byte("bad"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := func(path string) bool {
		b, err := os.ReadFile(path)
		return err == nil && string(b) == "good"
	}
	if _, made, err := d.Get(context.Background(), "k", good, write("good")); err != nil || !made {
		t.Error(made, err)
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	d := Dir{t.TempDir(), ".img"}
	_, _, err := d.Get(context.Background(), "k", exists, func(f *os.File) error {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if _, _, err := d.Get(ctx, "k", exists, write("other")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the one who waits: %v", err)
		}
		return write("content")(f)
	})
	if err != nil {
		t.Error(err)
	}
}

func TestListAndDelete(t *testing.T) {
	d := Dir{t.TempDir(), ".img"}
	for _, key := range []string{"b", "a"} {
		if _, _, err := d.Get(context.Background(), key, exists, write(key)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(d.Path, "other.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	entries, err := d.List()
	if err != nil || len(entries) != 2 || entries[0].Key != "a" || entries[1].Key != "b" || entries[0].Info.Size() != 1 {
		t.Errorf("entries %v, %v", entries, err)
	}
	for range 2 { // the second time there is nothing
		if err := d.Delete("a"); err != nil {
			t.Error(err)
		}
	}
	if got := names(t, d.Path); !slices.Equal(got, []string{"b.img", "other.txt"}) {
		t.Errorf("files %q", got)
	}
}

func TestKeysAreFileNames(t *testing.T) {
	d := Dir{t.TempDir(), ".img"}
	for _, key := range []string{"", "../x", "a/b", ".hidden", "nul\x00"} {
		if _, _, err := d.Get(context.Background(), key, exists, write("")); err == nil {
			t.Errorf("Get accepts %q", key)
		}
		if err := d.Delete(key); err == nil {
			t.Errorf("Delete accepts %q", key)
		}
	}
}
