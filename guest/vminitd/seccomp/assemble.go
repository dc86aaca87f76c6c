package seccomp

import "golang.org/x/sys/unix"

// Classic BPF, as far as filters need it.
const (
	loadWord    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	and         = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	jumpEqual   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jumpGreater = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	jumpAtLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	ret         = unix.BPF_RET | unix.BPF_K

	// Offsets in struct seccomp_data. Both architectures are little endian.
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16

	maxProgram = 4096 // BPF_MAXINSNS
)

func errno(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e)&unix.SECCOMP_RET_DATA }

// where a jump of a rule goes.
type target byte

const (
	next   target = iota // the next instruction
	met                  // this condition is met
	missed               // the rule does not apply
)

type instruction struct {
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

// builder appends the code of rules; the first that applies decides.
type builder struct{ code []unix.SockFilter }

// begin checks that the call is one of this architecture. A kernel of ours has no other; a call that says otherwise ends its process.
func begin() *builder {
	return &builder{code: []unix.SockFilter{
		{Code: loadWord, K: offsetArch},
		{Code: jumpEqual, K: architecture, Jt: 1},
		{Code: ret, K: unix.SECCOMP_RET_KILL_PROCESS},
		{Code: loadWord, K: offsetNumber},
	}}
}

func (b *builder) end(action uint32) []unix.SockFilter {
	return append(b.code, unix.SockFilter{Code: ret, K: action})
}

// interval decides about the calls from first to last.
func (b *builder) interval(first, last, action uint32) {
	if first == last {
		b.rule(rule{number: first, action: action})
		return
	}
	b.code = append(b.code,
		unix.SockFilter{Code: jumpAtLeast, K: first, Jf: 2},
		unix.SockFilter{Code: jumpGreater, K: last, Jt: 1},
		unix.SockFilter{Code: ret, K: action})
}

func (b *builder) rule(r rule) {
	if len(r.conditions) == 0 {
		b.code = append(b.code, unix.SockFilter{Code: jumpEqual, K: r.number, Jf: 1}, unix.SockFilter{Code: ret, K: r.action})
		return
	}
	var body []unix.SockFilter
	var missing []int // jumps that leave the rule
	for _, c := range r.conditions {
		code := c.compile()
		for i, in := range code {
			resolved := unix.SockFilter{Code: in.code, K: in.k}
			for _, jump := range []struct {
				to     target
				offset *uint8
			}{{in.yes, &resolved.Jt}, {in.no, &resolved.Jf}} {
				if jump.to == met {
					*jump.offset = uint8(len(code) - i - 1)
				}
			}
			if in.yes == missed || in.no == missed {
				missing = append(missing, len(body))
				if in.yes == missed {
					resolved.Jt = 255
				}
				if in.no == missed {
					resolved.Jf = 255
				}
			}
			body = append(body, resolved)
		}
	}
	body = append(body, unix.SockFilter{Code: ret, K: r.action})
	for _, i := range missing { // at most 6 conditions of 6 instructions: it fits
		out := uint8(len(body) - i - 1)
		if body[i].Jt == 255 {
			body[i].Jt = out
		}
		if body[i].Jf == 255 {
			body[i].Jf = out
		}
	}
	b.code = append(b.code, unix.SockFilter{Code: jumpEqual, K: r.number, Jf: uint8(len(body) + 1)})
	b.code = append(b.code, body...)
	b.code = append(b.code, unix.SockFilter{Code: loadWord, K: offsetNumber}) // for the next rule
}

// compile compares 64 bits by halves.
func (c condition) compile() []instruction {
	low, high := offsetArgs+8*c.index, offsetArgs+8*c.index+4
	vLow, vHigh := uint32(c.value), uint32(c.value>>32)
	loadHigh, loadLow := instruction{code: loadWord, k: high}, instruction{code: loadWord, k: low}
	switch c.op {
	case equal:
		return []instruction{loadHigh, {jumpEqual, vHigh, next, missed}, loadLow, {jumpEqual, vLow, met, missed}}
	case notEqual:
		return []instruction{loadHigh, {jumpEqual, vHigh, next, met}, loadLow, {jumpEqual, vLow, missed, met}}
	case greater, greaterOrEqual:
		last := instruction{jumpGreater, vLow, met, missed}
		if c.op == greaterOrEqual {
			last.code = jumpAtLeast
		}
		return []instruction{loadHigh, {jumpGreater, vHigh, met, next}, {jumpEqual, vHigh, next, missed}, loadLow, last}
	case less, lessOrEqual:
		last := instruction{jumpAtLeast, vLow, missed, met}
		if c.op == lessOrEqual {
			last.code = jumpGreater
		}
		return []instruction{loadHigh, {jumpGreater, vHigh, missed, next}, {jumpEqual, vHigh, next, met}, loadLow, last}
	default: // maskedEqual
		return []instruction{loadHigh, {code: and, k: uint32(c.mask >> 32)}, {jumpEqual, vHigh, next, missed},
			loadLow, {code: and, k: uint32(c.mask)}, {jumpEqual, vLow, met, missed}}
	}
}
