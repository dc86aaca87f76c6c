package standby_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/standby"
)

func TestAFewVMsMayStandBy(t *testing.T) {
	place := standby.At(filepath.Join(t.TempDir(), "standby"))
	keys := []string{strings.Repeat("a", 32), strings.Repeat("b", 32), strings.Repeat("c", 32)}
	var slots []standby.Slot
	for i, key := range keys {
		slot, err := place.Claim(key)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := slot != nil, i < 2; got != want {
			t.Errorf("VM %d may stand by: %v", i, got)
		}
		slots = append(slots, slot)
	}
	if slot, err := place.Claim(keys[0]); slot != nil || err != nil {
		t.Errorf("a second of one shape: %v, %v", slot, err)
	}
	if err := slots[0].Close(); err != nil { // as when the holder dies
		t.Fatal(err)
	}
	slot, err := place.Claim(keys[2])
	if slot == nil || err != nil {
		t.Fatalf("in the place of one that is gone: %v, %v", slot, err)
	}
	_, _ = slot.Close(), slots[1].Close()
}

func TestKeysThatAreNone(t *testing.T) {
	place := standby.At(t.TempDir())
	for _, key := range []string{"", "..", "../" + strings.Repeat("a", 29), strings.Repeat("a", 31), strings.Repeat("g", 32)} {
		if slot, err := place.Claim(key); err == nil || slot != nil {
			t.Errorf("%q was taken", key)
		}
		if err := place.Remove(key); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("removal of %q: %v", key, err)
		}
	}
}

func TestWithoutAHolderThereIsNone(t *testing.T) {
	dir := t.TempDir()
	place, key := standby.At(dir), strings.Repeat("a", 32)
	if _, err := place.Ask(context.Background(), key, "name", standby.Files{}); !errors.Is(err, standby.ErrNone) {
		t.Errorf("no directory: %v", err)
	}
	if err := os.Mkdir(place.Dir(key), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := place.Ask(context.Background(), key, "name", standby.Files{}); !errors.Is(err, standby.ErrNone) {
		t.Errorf("a directory that was left: %v", err)
	}
	if list, err := place.List(); err != nil || len(list) != 0 {
		t.Errorf("there are %v, %v", list, err)
	}
}

func TestAFailureIsNoted(t *testing.T) {
	place := standby.At(t.TempDir())
	if place.FailedWithin(time.Hour) {
		t.Error("nothing has failed yet")
	}
	place.Note(errors.New("the reason"))
	if !place.FailedWithin(time.Hour) || place.FailedWithin(0) {
		t.Error("it is not known when it failed")
	}
}
