package snapshot

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// made is a snapshot of a machine with a state of 1 MiB.
func made(t *testing.T) (dir string, machine Machine, state []byte) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	machine = Machine{QEMU: File{"/q", "1"}, Kernel: File{"/k", "2"}, Initrd: File{"/i", "3"}, Accelerator: "tcg", Shape: []string{"-m", "1"}, TSCKilohertz: 2_000_000, NamedMemory: true}
	state = bytes.Repeat([]byte("state"), 1<<20/5)
	var reported int64
	size, err := Save(dir, machine, bytes.NewReader(state), func(n int64) { reported = n })
	if err != nil || size <= int64(len(state)) || reported != int64(len(state)) {
		t.Fatalf("%d bytes, %d reported, %v", size, reported, err)
	}
	return dir, machine, state
}

func TestWhatWasSavedIsReadBack(t *testing.T) {
	dir, machine, want := made(t)
	machine.NamedMemory, machine.TSCKilohertz = false, machine.TSCKilohertz+1000 // neither has to be the same
	state, named, err := Open(t.Context(), dir, machine)
	if err != nil || !named {
		t.Fatalf("named: %v, %v", named, err)
	}
	defer state.Close()
	if got, err := io.ReadAll(state); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestADifferentMachineIsRefusedWithWhatDiffers(t *testing.T) {
	for words, change := range map[string]func(*Machine){
		"QEMU (/q2) is not the one":                      func(m *Machine) { m.QEMU = File{"/q2", "x"} },
		"the kernel (/k) is not the one":                 func(m *Machine) { m.Kernel.Digest = "x" },
		"the initrd (/i) is not the one":                 func(m *Machine) { m.Initrd.Digest = "x" },
		`the accelerator is not the one`:                 func(m *Machine) { m.Accelerator = "kvm" },
		"the host's processor is not":                    func(m *Machine) { m.CPU = []string{"other"} },
		"the rate of the processor's counter":            func(m *Machine) { m.TSCKilohertz = 3_000_000 },
		`it was "1", and is "2"`:                         func(m *Machine) { m.Shape = []string{"-m", "2"} },
		`it was "nothing", and is "more"`:                func(m *Machine) { m.Shape = append(m.Shape, "more") },
		`the machine's layout is not the one it was sav`: func(m *Machine) { m.Shape = nil },
	} {
		dir, machine, _ := made(t)
		change(&machine)
		_, _, err := Open(t.Context(), dir, machine)
		if _, different := errors.AsType[*DifferentError](err); !different || !strings.Contains(err.Error(), words) {
			t.Errorf("no %q in %v", words, err)
		}
	}
}

func TestADamagedSnapshotIsRefused(t *testing.T) {
	flip := func(path string) error {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		content[len(content)/2] ^= 1
		return os.WriteFile(path, content, 0o600)
	}
	for name, harm := range map[string]func(state, record string) error{
		"a byte of the state": func(state, _ string) error { return flip(state) },
		"its end is missing":  func(state, _ string) error { return os.Truncate(state, 1000) },
		"there is more":       func(state, _ string) error { return os.Truncate(state, 2<<20) },
		"no state":            func(state, _ string) error { return os.Remove(state) },
		"no record":           func(_, record string) error { return os.Remove(record) },
		"an empty record":     func(_, record string) error { return os.Truncate(record, 0) },
		"half a record":       func(_, record string) error { return os.Truncate(record, 40) },
		"others may read it":  func(state, _ string) error { return os.Chmod(state, 0o644) },
		"the state is a link": func(state, _ string) error {
			return errors.Join(os.Rename(state, state+"2"), os.Symlink(state+"2", state))
		},
		"the state is no file": func(state, _ string) error { return errors.Join(os.Remove(state), os.Mkdir(state, 0o700)) },
		"the record is a link": func(_, record string) error {
			return errors.Join(os.Rename(record, record+"2"), os.Symlink(record+"2", record))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, machine, _ := made(t)
			if err := harm(filepath.Join(dir, stateFile), filepath.Join(dir, recordFile)); err != nil {
				t.Fatal(err)
			}
			if _, _, err := Open(t.Context(), dir, machine); !errors.Is(err, ErrDamaged) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestADirectoryThatIsOpenToOthersIsNotUsed(t *testing.T) {
	dir, machine, _ := made(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(t.Context(), dir, machine); err == nil {
		t.Error("it was read")
	}
	if _, err := Save(dir, machine, strings.NewReader(""), func(int64) {}); err == nil {
		t.Error("it was written")
	}
}

func TestWhatCannotBeSavedLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the pipe is broken")
	from := io.MultiReader(strings.NewReader("half"), failing{broken})
	if _, err := Save(dir, Machine{}, from, func(int64) {}); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
