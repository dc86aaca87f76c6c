package kernelfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/sdk/kernel"
)

var le = binary.LittleEndian

// elfFile is an ELF file of one segment of notes, followed by text.
func elfFile(machine uint16, notes []byte, text string) []byte {
	b := make([]byte, 64+56)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 2) // ET_EXEC
	le.PutUint16(b[18:], machine)
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[32:], 64) // program headers
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	le.PutUint16(b[58:], 64)
	p := b[64:]
	le.PutUint32(p, 4) // PT_NOTE
	le.PutUint64(p[8:], uint64(len(b)))
	le.PutUint64(p[32:], uint64(len(notes)))
	le.PutUint64(p[40:], uint64(len(notes)))
	return append(append(b, notes...), text...)
}

func note(name string, kind uint32, desc []byte) []byte {
	b := make([]byte, 12)
	le.PutUint32(b, uint32(len(name)))
	le.PutUint32(b[4:], uint32(len(desc)))
	le.PutUint32(b[8:], kind)
	for _, part := range []string{name, string(desc)} {
		b = append(b, part...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	return b
}

func bzImage(version string) []byte {
	b := make([]byte, 0x400)
	copy(b[0x1fe:], "\x55\xaa")
	copy(b[0x202:], "HdrS")
	le.PutUint16(b[0x206:], 0x20f)
	le.PutUint16(b[0x20e:], 0x100)
	le.PutUint16(b[0x236:], 1)
	copy(b[0x300:], version)
	return b
}

func changed(b []byte, offset int, value string) []byte {
	b = bytes.Clone(b)
	copy(b[offset:], value)
	return b
}

var (
	pvh   = append(note("GNU\x00", 3, make([]byte, 20)), note("Xen\x00", pvhNote, make([]byte, 8))...)
	image = changed(make([]byte, 0x1000), 0x38, "ARM\x64")
)

func TestKernelsAreKnownByTheirContent(t *testing.T) {
	for _, c := range []struct {
		name string
		file []byte
		want File
	}{
		{"ELF with a PVH note among others", elfFile(62, pvh, "Linux version 6.1.2-vzctl (b@h)"), File{kernel.FormatPVH, AMD64, "6.1.2-vzctl"}},
		{"a format string is not a version", elfFile(62, pvh, "Linux version %s\x00Linux version 6.6.1 "), File{kernel.FormatPVH, AMD64, "6.6.1"}},
		{"a version across two reads", elfFile(62, pvh, strings.Repeat("x", chunk-len(elfFile(62, pvh, ""))-20)+"Linux version 6.1.3 "), File{kernel.FormatPVH, AMD64, "6.1.3"}},
		{"ELF that does not tell its version", elfFile(62, pvh, ""), File{kernel.FormatPVH, AMD64, ""}},
		{"bzImage", bzImage("6.1.0-49-amd64 (debian-kernel@lists.debian.org)"), File{kernel.FormatBzImage, AMD64, "6.1.0-49-amd64"}},
		{"bzImage whose version lies outside", changed(bzImage(""), 0x20e, "\xff\xff"), File{kernel.FormatBzImage, AMD64, ""}},
		{"arm64 Image", append(bytes.Clone(image), "Linux version 6.1.2 "...), File{kernel.FormatRaw, ARM64, "6.1.2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Inspect(bytes.NewReader(c.file), int64(len(c.file)))
			if err != nil || got != c.want {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

func TestOtherFilesAreRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		file []byte
		says string
	}{
		{"empty", nil, "neither"},
		{"text", []byte("#!/bin/sh\n"), "neither"},
		{"ELF without a PVH note", elfFile(62, note("GNU\x00", pvhNote, make([]byte, 8)), ""), "CONFIG_PVH"},
		{"ELF with a note longer than its segment", elfFile(62, changed(pvh, 4, "\xff\xff\xff\xff"), ""), "CONFIG_PVH"},
		{"ELF for arm64", elfFile(183, pvh, ""), "Image"},
		{"ELF for another machine", elfFile(40, pvh, ""), "EM_ARM"},
		{"ELF cut off", elfFile(62, pvh, "")[:70], "not a kernel"},
		{"32-bit bzImage", changed(bzImage("6"), 0x236, "\x00\x00"), "32-bit"},
		{"bzImage cut off", bzImage("6")[:0x210], "cut off"},
		{"gzip", []byte("\x1f\x8b\x08"), "compressed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Inspect(bytes.NewReader(c.file), int64(len(c.file)))
			if !errors.Is(err, ErrNotKernel) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v; want one saying %q", err, c.says)
			}
		})
	}
}

func FuzzInspect(f *testing.F) {
	f.Add(elfFile(62, pvh, "Linux version 6.1.2 "))
	f.Add(bzImage("6.1.0"))
	f.Add(image)
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := Inspect(bytes.NewReader(b), int64(len(b)))
		if err == nil && (file.Format == "" || file.Arch == "" || len(file.Version) > maxVersion) {
			t.Errorf("%+v", file)
		}
		if err != nil && !errors.Is(err, ErrNotKernel) {
			t.Errorf("%v is not ErrNotKernel", err)
		}
	})
}
