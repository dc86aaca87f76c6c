package prime

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// library is an ELF file that asks for an interpreter and libraries.
func library(interpreter string, needed ...string) []byte {
	const loaded = 0x400000
	file := make([]byte, 0x1000)
	at := 0x800
	put := func(s string) (offset int) {
		offset = at
		at += copy(file[at:], s+"\x00")
		return offset
	}
	interpreterAt := put(interpreter)
	names := at
	put("")
	var dynamic []byte
	for _, name := range needed {
		dynamic = binary.LittleEndian.AppendUint64(dynamic, uint64(elf.DT_NEEDED))
		dynamic = binary.LittleEndian.AppendUint64(dynamic, uint64(put(name)-names))
	}
	dynamic = binary.LittleEndian.AppendUint64(dynamic, uint64(elf.DT_STRTAB))
	dynamic = binary.LittleEndian.AppendUint64(dynamic, uint64(loaded+names))
	copy(file[0x400:], dynamic)
	head := elf.Header64{Type: uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 3}
	copy(head.Ident[:], "\x7fELF\x02\x01\x01")
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, head) // neither fails into memory
	_ = binary.Write(&b, binary.LittleEndian, []elf.Prog64{
		{Type: uint32(elf.PT_INTERP), Off: uint64(interpreterAt), Filesz: uint64(len(interpreter) + 1)},
		{Type: uint32(elf.PT_LOAD), Vaddr: loaded, Filesz: uint64(len(file))},
		{Type: uint32(elf.PT_DYNAMIC), Off: 0x400, Filesz: uint64(len(dynamic))}})
	copy(file, b.Bytes())
	return file
}

func write(t *testing.T, root, name string, content []byte) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestWhatAProgramNeedsIsRead(t *testing.T) {
	root := t.TempDir()
	write(t, root, "usr/bin/program", library("/lib/ld.so", "libone.so", "libmissing.so"))
	write(t, root, "lib/ld.so", library(""))
	write(t, root, "usr/lib/libone.so", library("", "libtwo.so", "libone.so"))
	write(t, root, "lib/libtwo.so", []byte("no library"))
	write(t, root, "bin/script", []byte("#! /usr/bin/program -x\n"))
	write(t, root, "large", make([]byte, maxFile+1))
	outside := t.TempDir()
	write(t, outside, "secret", make([]byte, 1<<20))
	for name, target := range map[string]string{"bin/link": "../usr/bin/program", "bin/out": "../../../.." + outside + "/secret", "bin/absolute": outside + "/secret", "loop": "loop"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	all := int64(3*0x1000 + len("no library"))
	for _, test := range []struct {
		files string
		want  int64
	}{
		{"", 0},
		{"/usr/bin/program", all},
		{"/usr/bin/program ../usr/bin/program", all},
		{"/bin/link", all},
		{"/bin/script", all + int64(len("#! /usr/bin/program -x\n"))},
		{"/usr/local/bin/program /usr/bin/program", all},
		{"/bin/out", 0},
		{"/bin/absolute", 0},
		{"/loop", 0},
		{"/usr", 0},
		{"/large", maxFile},
	} {
		if got := Read(root, strings.Fields(test.files), MaxTotal); got != test.want {
			t.Errorf("for %q it reads %d bytes; want %d", test.files, got, test.want)
		}
	}
}

func TestOneImageHasNotAllOfTheMemory(t *testing.T) {
	root := t.TempDir()
	var names []string
	for i := range 10 {
		names = append(names, string(rune('a'+i)))
		write(t, root, names[i], make([]byte, maxFile))
	}
	if got := Read(root, names, MaxTotal+1); got != MaxTotal {
		t.Errorf("it reads %d bytes; want %d", got, MaxTotal)
	}
	names = nil
	for i := range 2 * maxFiles {
		names = append(names, filepath.Join("many", string(rune('A'+i%26)), string(rune('a'+i/26))))
		write(t, root, names[i], []byte("x"))
	}
	if got := Read(root, names, MaxTotal+1); got != maxFiles {
		t.Errorf("it reads %d files; want %d", got, maxFiles)
	}
}

func TestWhatAFileSaysOfItself(t *testing.T) {
	whole := library("/lib/ld.so", "libone.so", "../../libtwo.so")
	interpreter, libraries := needs(bytes.NewReader(whole))
	if interpreter != "/lib/ld.so" || !slices.Equal(libraries, []string{"libone.so"}) {
		t.Errorf("it needs %q and %q", interpreter, libraries)
	}
	for n := range len(whole) / 8 {
		needs(bytes.NewReader(whole[:8*n]))
	}
}

// FuzzNeeds wants no more than that it ends.
func FuzzNeeds(f *testing.F) {
	f.Add(library("/lib/ld.so", "libone.so"))
	f.Add(library("", "a", "b"))
	f.Fuzz(func(_ *testing.T, file []byte) { needs(bytes.NewReader(file)) })
}
