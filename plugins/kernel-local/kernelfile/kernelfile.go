// Package kernelfile tells what kind of kernel a file is from the file alone. The file may be anything and hostile: reads are bounded, and
// whatever is found is checked before it is believed. Where kernels are looked for is the business of package provider.
package kernelfile

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/vzctl/vzctl/sdk/kernel"
)

// ErrNotKernel is wrapped by errors about files that no supported machine can boot.
var ErrNotKernel = errors.New("not a kernel")

// Architectures as OCI writes them.
const (
	AMD64 = "amd64"
	ARM64 = "arm64"
)

const (
	maxVersion = 64        // characters
	maxSearch  = 64 << 20  // bytes looked through for a version
	maxNotes   = 64 << 10  // bytes of one note segment
	maxSegment = 128       // program headers; Linux has five
	chunk      = 256 << 10 // bytes read at once when searching

	pvhNote = 18 // XEN_ELFNOTE_PHYS32_ENTRY: where a PVH machine enters the kernel
)

// File is what a kernel says of itself.
type File struct {
	Format  string // one of package kernel's formats
	Arch    string
	Version string // "" if the file does not tell
}

// Inspect reads as little of a file of size bytes as tells what it is. Errors other than those of r wrap ErrNotKernel.
func Inspect(r io.ReaderAt, size int64) (File, error) {
	head := make([]byte, 0x240)
	n, err := r.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return File{}, err
	}
	head = head[:n]
	switch {
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		return inspectELF(r, size)
	case has(head, 0x38, "ARM\x64"):
		version, err := search(r, size)
		return File{Format: kernel.FormatRaw, Arch: ARM64, Version: version}, err
	case has(head, 0x202, "HdrS") && has(head, 0x1fe, "\x55\xaa"):
		return inspectBzImage(r, head)
	case bytes.HasPrefix(head, []byte("\x1f\x8b")), bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		return File{}, fmt.Errorf("%w: the file is compressed, unpack it first", ErrNotKernel)
	}
	return File{}, fmt.Errorf("%w: neither an ELF file with a PVH entry, nor a bzImage, nor an arm64 Image", ErrNotKernel)
}

func has(head []byte, offset int, want string) bool {
	return len(head) >= offset+len(want) && string(head[offset:offset+len(want)]) == want
}

func inspectELF(r io.ReaderAt, size int64) (File, error) {
	f, err := elf.NewFile(io.NewSectionReader(r, 0, size))
	if err != nil {
		return File{}, fmt.Errorf("%w: %v", ErrNotKernel, err)
	}
	if f.Machine == elf.EM_AARCH64 {
		return File{}, fmt.Errorf("%w: an ELF file for arm64; its machines boot the file called Image", ErrNotKernel)
	}
	if f.Machine != elf.EM_X86_64 || f.Class != elf.ELFCLASS64 || f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return File{}, fmt.Errorf("%w: an ELF file of type %v for %v", ErrNotKernel, f.Type, f.Machine)
	}
	if len(f.Progs) > maxSegment {
		return File{}, fmt.Errorf("%w: an ELF file of %d segments", ErrNotKernel, len(f.Progs))
	}
	for _, segment := range f.Progs {
		if segment.Type != elf.PT_NOTE {
			continue
		}
		notes := make([]byte, min(segment.Filesz, maxNotes))
		n, err := segment.ReadAt(notes, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return File{}, err
		}
		if hasPVHNote(notes[:n], f.ByteOrder) {
			version, err := search(r, size)
			return File{Format: kernel.FormatPVH, Arch: AMD64, Version: version}, err
		}
	}
	return File{}, fmt.Errorf("%w: an ELF file without a PVH entry; a kernel gets one with CONFIG_PVH=y", ErrNotKernel)
}

// hasPVHNote walks ELF notes: lengths of name and description, type, then both, each padded to four bytes.
func hasPVHNote(notes []byte, order binary.ByteOrder) bool {
	const header = 12
	for len(notes) >= header {
		name, desc := uint64(order.Uint32(notes)), uint64(order.Uint32(notes[4:]))
		kind := order.Uint32(notes[8:])
		notes = notes[header:]
		padded := (name + 3) &^ 3
		if padded > uint64(len(notes)) || desc > uint64(len(notes))-padded {
			return false
		}
		if string(notes[:name]) == "Xen\x00" && kind == pvhNote {
			return desc == 4 || desc == 8
		}
		notes = notes[min(padded+(desc+3)&^3, uint64(len(notes))):]
	}
	return false
}

// inspectBzImage reads the header that the kernel's Documentation/arch/x86/boot.rst describes.
func inspectBzImage(r io.ReaderAt, head []byte) (File, error) {
	if len(head) < 0x238 {
		return File{}, fmt.Errorf("%w: a bzImage cut off in its header", ErrNotKernel)
	}
	le := binary.LittleEndian
	const loads64 = 1 // XLF_KERNEL_64, since protocol 2.12
	if le.Uint16(head[0x206:]) >= 0x20c && le.Uint16(head[0x236:])&loads64 == 0 {
		return File{}, fmt.Errorf("%w: a bzImage for 32-bit machines", ErrNotKernel)
	}
	file := File{Format: kernel.FormatBzImage, Arch: AMD64}
	if offset := le.Uint16(head[0x20e:]); offset != 0 {
		raw := make([]byte, maxVersion+1)
		n, err := r.ReadAt(raw, int64(offset)+0x200)
		if err != nil && !errors.Is(err, io.EOF) {
			return File{}, err
		}
		file.Version = version(raw[:n])
	}
	return file, nil
}

// search finds the version in the kernel's banner, "Linux version 6.1.0-x (builder) ...".
func search(r io.ReaderAt, size int64) (string, error) {
	banner := []byte("Linux version ")
	overlap := len(banner) + maxVersion + 1
	buf := make([]byte, chunk+overlap)
	for offset := int64(0); offset < min(size, maxSearch); offset += chunk {
		n, err := r.ReadAt(buf, offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		for rest := buf[:n]; ; {
			i := bytes.Index(rest, banner)
			if i < 0 {
				break
			}
			rest = rest[i+len(banner):]
			if v := version(rest); v != "" {
				return v, nil
			}
		}
		if n < len(buf) {
			break
		}
	}
	return "", nil
}

// version is the first word of b if it looks like "6.1.0-anything"; formats such as "%s" do not.
func version(b []byte) string {
	end := bytes.IndexFunc(b, func(r rune) bool {
		return !strings.ContainsRune("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-+~_", r)
	})
	if end < 0 {
		end = len(b)
	}
	if end == 0 || end > maxVersion || b[0] < '0' || b[0] > '9' || bytes.IndexByte(b[:end], '.') < 0 {
		return ""
	}
	return string(b[:end])
}
