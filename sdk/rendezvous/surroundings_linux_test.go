package rendezvous_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/sdk/rendezvous"
)

func TestSurroundingsStayAsTheyAre(t *testing.T) {
	one, err := rendezvous.Surroundings()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := rendezvous.Surroundings(); err != nil || !slices.Equal(one, again) {
		t.Errorf("%q, and then %q, %v", one, again, err)
	}
	old := unix.Umask(0o123)
	defer unix.Umask(old)
	if other, err := rendezvous.Surroundings(); err != nil || slices.Equal(one, other) {
		t.Errorf("with another umask the same: %q, %v", other, err)
	}
}

func TestAFileIsAnotherOnceItIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	if _, err := rendezvous.File(path); err == nil {
		t.Error("a file that is not there is one")
	}
	var said []string
	for _, content := range []string{"one", "two"} {
		if err := os.WriteFile(path+".new", []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			name, err := rendezvous.File(path)
			if err != nil {
				t.Fatal(err)
			}
			said = append(said, name)
		}
	}
	if said[0] != said[1] || said[2] != said[3] || said[0] == said[2] {
		t.Errorf("a file, and another in its place: %q", said)
	}
}
