package prime

import (
	"bytes"
	"encoding/binary"
	"io"
)

// Of ELF files for 64 bits, little endian; see elf(5). Everything in them is somebody else's: each number is checked, by ReadAt at the latest.
const (
	headerSize   = 64
	programSize  = 56
	maxPrograms  = 64
	maxDynamic   = 16 << 10
	maxName      = 4 << 10
	maxLibraries = 32

	typeLoad, typeDynamic, typeInterpreter = 1, 2, 3
	tagNeeded, tagStrings                  = 1, 5
)

// part is what a program header says.
type part struct{ kind, offset, address, size uint64 }

// needs returns the interpreter of an executable and the names of the libraries that it, or a library, asks for.
func needs(file io.ReaderAt) (interpreter string, libraries []string) {
	parts := partsOf(file)
	var dynamic []byte
	for _, p := range parts {
		switch p.kind {
		case typeInterpreter:
			interpreter = text(file, p.offset)
		case typeDynamic:
			dynamic = make([]byte, min(p.size, maxDynamic))
			n, _ := file.ReadAt(dynamic, int64(p.offset&(1<<62-1)))
			dynamic = dynamic[:n]
		}
	}
	strings, names := uint64(0), []uint64(nil)
	for ; len(dynamic) >= 16; dynamic = dynamic[16:] {
		switch value := binary.LittleEndian.Uint64(dynamic[8:]); binary.LittleEndian.Uint64(dynamic) {
		case tagNeeded:
			names = append(names, value)
		case tagStrings:
			strings = value
		}
	}
	for _, p := range parts {
		if p.kind != typeLoad || strings < p.address || strings-p.address >= p.size {
			continue
		}
		at := p.offset + strings - p.address
		for _, name := range names[:min(len(names), maxLibraries)] {
			if library := text(file, at+name); library != "" && !bytes.ContainsRune([]byte(library), '/') {
				libraries = append(libraries, library)
			}
		}
		break
	}
	return interpreter, libraries
}

func partsOf(file io.ReaderAt) (parts []part) {
	header := make([]byte, headerSize)
	if _, err := file.ReadAt(header, 0); err != nil || !bytes.HasPrefix(header, []byte("\x7fELF\x02\x01")) || binary.LittleEndian.Uint16(header[54:]) != programSize {
		return nil
	}
	table := make([]byte, programSize*min(int(binary.LittleEndian.Uint16(header[56:])), maxPrograms))
	n, _ := file.ReadAt(table, int64(binary.LittleEndian.Uint64(header[32:])&(1<<62-1)))
	for table = table[:n]; len(table) >= programSize; table = table[programSize:] {
		parts = append(parts, part{kind: uint64(binary.LittleEndian.Uint32(table)), offset: binary.LittleEndian.Uint64(table[8:]),
			address: binary.LittleEndian.Uint64(table[16:]), size: binary.LittleEndian.Uint64(table[32:])})
	}
	return parts
}

// text is what is in the file up to a zero; "" if there is none.
func text(file io.ReaderAt, at uint64) string {
	room := make([]byte, maxName)
	n, _ := file.ReadAt(room, int64(at&(1<<62-1)))
	end := bytes.IndexByte(room[:n], 0)
	if end < 0 {
		return ""
	}
	return string(room[:end])
}
