package placeholder

import (
	"bytes"
	"debug/elf"
	"os"
	"path/filepath"
	"testing"

	"github.com/vzctl/vzctl/plugins/ext4-builder/ext4"
)

func TestADiskKeepsItsSizeAndHoldsAFileSystem(t *testing.T) {
	for name, test := range map[string]struct {
		size, want int64
		readOnly   bool
	}{
		"a read-only disk far larger than what is on it": {1 << 40, 1 << 40, true},
		"a writable disk":          {1 << 30, 1 << 30, false},
		"a disk that is too small": {0, leastSize, false},
	} {
		t.Run(name, func(t *testing.T) {
			file, err := os.Create(filepath.Join(t.TempDir(), "disk"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = file.Close() }()
			if err := file.Truncate(test.size); err != nil {
				t.Fatal(err)
			}
			if err := Write(t.Context(), file, "amd64", test.readOnly); err != nil {
				t.Fatal(err)
			}
			info, err := file.Stat()
			if err != nil || info.Size() != test.want {
				t.Errorf("it has %d bytes, want %d; %v", info.Size(), test.want, err)
			}
			fs, err := ext4.NewReader(file, test.want)
			if err != nil {
				t.Fatal(err)
			}
			root, err := fs.Root()
			if err != nil {
				t.Fatal(err)
			}
			names, err := fs.ReadDir(root)
			if err != nil || test.readOnly == (len(names) <= 2) { // itself and its parent
				t.Errorf("in its root are %v, %v", names, err)
			}
		})
	}
	if err := Write(t.Context(), nil, "riscv64", true); err == nil {
		t.Error("there are programs for an architecture that nobody has written them for")
	}
}

func TestTheProgramsAreExecutable(t *testing.T) {
	for name, text := range map[string][]byte{"true": program(), "ld": anywhere(interpreter), "wait": anywhere(waiter), "exit": anywhere(ender)} {
		file, err := elf.NewFile(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, p := range file.Progs {
			if p.Off+p.Filesz > uint64(len(text)) {
				t.Errorf("%s: a part ends at %d of %d bytes", name, p.Off+p.Filesz, len(text))
			}
		}
		if file.Machine != elf.EM_X86_64 {
			t.Errorf("%s is for %v", name, file.Machine)
		}
	}
	if calls, texts := table(); len(calls) > textsAt-tableAt || len(texts) > zerosAt-textsAt {
		t.Errorf("the calls take %d bytes, and their texts %d", len(calls), len(texts))
	}
}
