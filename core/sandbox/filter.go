package sandbox

import (
	"encoding/binary"
	"errors"
)

// Format is how a filter is kept in a file: its flags in four bytes, then the program.
func (f Filter) Format() []byte {
	return append(binary.LittleEndian.AppendUint32(nil, f.Flags), f.Program...)
}

// ParseFilter is the reverse.
func ParseFilter(text []byte) (*Filter, error) {
	if len(text) <= 4 {
		return nil, errors.New("the container's system call filter is damaged")
	}
	return &Filter{Flags: binary.LittleEndian.Uint32(text), Program: text[4:]}, nil
}
