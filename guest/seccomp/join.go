package seccomp

import "encoding/binary"

// Join makes one program of two that would both be installed. To install one takes an emulated kernel a quarter of a millisecond, for each process: it goes through a program once for each number of a call there is.
// It reports false where one cannot stand for both: the kernel does what the more severe of two answers says, and a program that answers anything else than to allow the call, or to deny it in one of the
// ways that are at least as severe as an error's number, leaves that open. further may answer nothing but errors and to allow.
func Join(program, further []byte) (joined []byte, ok bool) {
	count := len(program) / instructionSize
	if count+len(further)/instructionSize > maxProgram {
		return nil, false
	}
	joined = append(append(make([]byte, 0, len(program)+len(further)), program...), further...)
	for i := range count {
		at := joined[i*instructionSize:]
		code, k := binary.LittleEndian.Uint16(at), binary.LittleEndian.Uint32(at[4:])
		switch {
		case code&classMask != classReturn:
		case code != ret:
			return nil, false
		case k == allow: // the other decides
			binary.LittleEndian.PutUint16(at, jumpAlways)
			binary.LittleEndian.PutUint32(at[4:], uint32(count-i-1))
		case !severe(k):
			return nil, false
		}
	}
	return joined, true
}

const (
	classMask   = 0x07 // of an instruction's code
	classReturn = 0x06 // BPF_RET
)

// severe reports whether no error is more severe than an answer.
func severe(answer uint32) bool {
	switch answer &^ 0xffff {
	case killProcess, killThread, trap, errnoAction:
		return true
	}
	return false
}
