package seccomp

import (
	"encoding/binary"
	"errors"
)

// Classic BPF, as far as filters need it, by the kernel's numbers: a host that is no Linux makes filters too.
const (
	loadWord    = 0x20 // BPF_LD|BPF_W|BPF_ABS
	and         = 0x54 // BPF_ALU|BPF_AND|BPF_K
	jumpAlways  = 0x05 // BPF_JMP|BPF_JA
	jumpEqual   = 0x15 // BPF_JMP|BPF_JEQ|BPF_K
	jumpGreater = 0x25 // BPF_JMP|BPF_JGT|BPF_K
	jumpAtLeast = 0x35 // BPF_JMP|BPF_JGE|BPF_K
	ret         = 0x06 // BPF_RET|BPF_K

	// Offsets in struct seccomp_data. Both architectures are little endian.
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16

	maxProgram = 4096 // BPF_MAXINSNS
	maxJump    = 255  // of a conditional one
)

// What a filter answers, with the number of an error or 0 in the low half.
const (
	killProcess = 0x80000000
	killThread  = 0x00000000
	trap        = 0x00030000
	errnoAction = 0x00050000
	logAction   = 0x7ffc0000
	allow       = 0x7fff0000
)

func errno(e uint32) uint32 { return errnoAction | e&0xffff }

// Instruction is struct sock_filter.
type Instruction struct {
	Code    uint16
	Yes, No uint8
	K       uint32
}

const instructionSize = 8

// Encode makes bytes of a program, as the guest's agent takes it.
func Encode(program []Instruction) []byte {
	text := make([]byte, 0, len(program)*instructionSize)
	for _, in := range program {
		text = binary.LittleEndian.AppendUint16(text, in.Code)
		text = binary.LittleEndian.AppendUint32(append(text, in.Yes, in.No), in.K)
	}
	return text
}

// Check refuses bytes that cannot be a program. What it does is the kernel's to check.
func Check(text []byte) error {
	if len(text) == 0 || len(text)%instructionSize != 0 || len(text) > maxProgram*instructionSize {
		return errors.New("it is not a system call filter")
	}
	return nil
}

// where a jump of a rule goes.
type target byte

const (
	next   target = iota // the next instruction
	met                  // this condition is met
	missed               // the rule does not apply
)

// step of a condition.
type step struct {
	code    uint16
	k       uint32
	yes, no target
}

type operator byte

const (
	notEqual operator = iota
	less
	lessOrEqual
	equal
	greaterOrEqual
	greater
	maskedEqual
)

// condition compares an argument of the call.
type condition struct {
	index       uint32 // 0 to 5
	op          operator
	mask, value uint64 // mask of maskedEqual alone
}

// rule decides about one system call, if all conditions are met.
type rule struct {
	number     uint32
	action     uint32
	conditions []condition
}

// span is what a filter does about the calls from first to the next span: the rules in order, the first whose conditions are met decides; or else
// otherwise.
type span struct {
	first     uint32
	rules     []rule
	otherwise uint32
}

// assemble makes a program of spans, of which the first begins with call 0. A call that says that it is of another architecture ends its process: a kernel of ours has no
// other. The call's number is looked for by halving: every call of the container goes through the program, and the kernel goes through it once for each number there
// is when it is installed.
func assemble(architecture uint32, spans []span) []Instruction {
	return append([]Instruction{
		{Code: loadWord, K: offsetArch},
		{Code: jumpEqual, K: architecture, Yes: 1},
		{Code: ret, K: killProcess},
		{Code: loadWord, K: offsetNumber},
	}, search(spans)...)
}

func search(spans []span) []Instruction {
	if len(spans) == 1 {
		return decide(spans[0])
	}
	middle := len(spans) / 2
	low, high := search(spans[:middle]), search(spans[middle:])
	code := []Instruction{{Code: jumpAtLeast, K: spans[middle].first, Yes: uint8(min(len(low), maxJump))}}
	if len(low) > maxJump {
		code = []Instruction{{Code: jumpAtLeast, K: spans[middle].first, No: 1}, {Code: jumpAlways, K: uint32(len(low))}}
	}
	return append(append(code, low...), high...)
}

func decide(s span) (code []Instruction) {
	for _, r := range s.rules {
		code = append(code, r.compile()...)
	}
	return append(code, Instruction{Code: ret, K: s.otherwise})
}

// compile makes code that answers if the conditions are met, and goes on behind itself if not.
func (r rule) compile() []Instruction {
	var body []Instruction
	var missing []int // jumps that leave the rule
	for _, c := range r.conditions {
		code := c.compile()
		for i, in := range code {
			resolved := Instruction{Code: in.code, K: in.k}
			for _, jump := range []struct {
				to     target
				offset *uint8
			}{{in.yes, &resolved.Yes}, {in.no, &resolved.No}} {
				if jump.to == met {
					*jump.offset = uint8(len(code) - i - 1)
				}
			}
			if in.yes == missed || in.no == missed {
				missing = append(missing, len(body))
				if in.yes == missed {
					resolved.Yes = maxJump
				}
				if in.no == missed {
					resolved.No = maxJump
				}
			}
			body = append(body, resolved)
		}
	}
	body = append(body, Instruction{Code: ret, K: r.action})
	for _, i := range missing { // at most 6 conditions of 6 instructions: it fits
		out := uint8(len(body) - i - 1)
		if body[i].Yes == maxJump {
			body[i].Yes = out
		}
		if body[i].No == maxJump {
			body[i].No = out
		}
	}
	return body
}

// compile compares 64 bits by halves.
func (c condition) compile() []step {
	low, high := offsetArgs+8*c.index, offsetArgs+8*c.index+4
	vLow, vHigh := uint32(c.value), uint32(c.value>>32)
	loadHigh, loadLow := step{code: loadWord, k: high}, step{code: loadWord, k: low}
	switch c.op {
	case equal:
		return []step{loadHigh, {jumpEqual, vHigh, next, missed}, loadLow, {jumpEqual, vLow, met, missed}}
	case notEqual:
		return []step{loadHigh, {jumpEqual, vHigh, next, met}, loadLow, {jumpEqual, vLow, missed, met}}
	case greater, greaterOrEqual:
		last := step{jumpGreater, vLow, met, missed}
		if c.op == greaterOrEqual {
			last.code = jumpAtLeast
		}
		return []step{loadHigh, {jumpGreater, vHigh, met, next}, {jumpEqual, vHigh, next, missed}, loadLow, last}
	case less, lessOrEqual:
		last := step{jumpAtLeast, vLow, missed, met}
		if c.op == lessOrEqual {
			last.code = jumpGreater
		}
		return []step{loadHigh, {jumpGreater, vHigh, missed, next}, {jumpEqual, vHigh, next, met}, loadLow, last}
	default: // maskedEqual
		return []step{loadHigh, {code: and, k: uint32(c.mask >> 32)}, {jumpEqual, vHigh, next, missed},
			loadLow, {code: and, k: uint32(c.mask)}, {jumpEqual, vLow, met, missed}}
	}
}
