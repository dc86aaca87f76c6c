package cgroup

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A container may make device nodes (CAP_MKNOD is granted by default), but open only those that hold nothing of the machine. Above all not
// the disks below its own root, nor the serial port to the host. cgroup v2 asks a BPF program about every open; this file writes it.

const (
	accessMknod = 1 << iota // the bits of the kernel's BPF_DEVCG_ACC_*
	accessRead
	accessWrite
	accessAll = accessMknod | accessRead | accessWrite

	deviceBlock = 1
	deviceChar  = 2

	every = -1 // whichever
)

// rule says whether a kind of device may be used. The last one that matches decides.
type rule struct {
	allow        bool
	kind         int32 // deviceBlock, deviceChar, or every
	major, minor int64 // or every
	access       int32
}

// harmless are the rules of every container.
var harmless = []rule{
	{true, every, every, every, accessMknod},
	{true, deviceChar, 1, 3, accessAll},       // null
	{true, deviceChar, 1, 5, accessAll},       // zero
	{true, deviceChar, 1, 7, accessAll},       // full
	{true, deviceChar, 1, 8, accessAll},       // random
	{true, deviceChar, 1, 9, accessAll},       // urandom
	{true, deviceChar, 5, 0, accessAll},       // tty
	{true, deviceChar, 5, 2, accessAll},       // ptmx
	{true, deviceChar, 136, every, accessAll}, // pts
}

// deviceRules puts a spec's rules after ours. A spec that denies all, as most begin, thereby says no more than we do.
func deviceRules(r *specs.LinuxResources) ([]rule, error) {
	rules := harmless[:len(harmless):len(harmless)]
	if r == nil {
		return rules, nil
	}
	for _, d := range r.Devices {
		parsed, err := parseRule(d)
		if err != nil {
			return nil, err
		}
		if !d.Allow && parsed.kind == every && parsed.major == every && parsed.minor == every && parsed.access == accessAll {
			continue
		}
		rules = append(rules, parsed)
	}
	if len(rules) > 256 {
		return nil, errors.New("linux.resources.devices has too many rules")
	}
	return rules, nil
}

func parseRule(d specs.LinuxDeviceCgroup) (rule, error) {
	parsed := rule{allow: d.Allow, kind: every, major: every, minor: every}
	switch d.Type {
	case "b":
		parsed.kind = deviceBlock
	case "c", "u":
		parsed.kind = deviceChar
	case "a", "":
	default:
		return rule{}, fmt.Errorf("linux.resources.devices has type %.20q", d.Type)
	}
	if d.Major != nil && *d.Major >= 0 {
		parsed.major = *d.Major
	}
	if d.Minor != nil && *d.Minor >= 0 {
		parsed.minor = *d.Minor
	}
	for _, c := range d.Access {
		switch c {
		case 'r':
			parsed.access |= accessRead
		case 'w':
			parsed.access |= accessWrite
		case 'm':
			parsed.access |= accessMknod
		default:
			return rule{}, fmt.Errorf("linux.resources.devices has access %.20q", d.Access)
		}
	}
	if d.Access == "" {
		parsed.access = accessAll
	}
	return parsed, nil
}

// instruction is struct bpf_insn.
type instruction struct {
	code      uint8
	registers uint8 // destination in the low half
	offset    int16
	immediate int32
}

const (
	load32   = 0x61 // BPF_LDX|BPF_MEM|BPF_W
	move32   = 0xbc // BPF_ALU|BPF_MOV|BPF_X
	set64    = 0xb7 // BPF_ALU64|BPF_MOV|BPF_K
	and32    = 0x54
	shift32  = 0x74 // right
	notEqual = 0x55

	equal     = 0x15
	different = 0x5d // BPF_JMP|BPF_JNE|BPF_X
	exit      = 0x95
)

// program asks the rules from the last to the first; the first that matches here is thus the last that matches. Registers: 2 kind, 3 access, 4 major,
// 5 minor, 1 the context (struct bpf_cgroup_dev_ctx: access and kind in one word, major, minor).
func program(rules []rule) []instruction {
	p := []instruction{
		{load32, 2 | 1<<4, 0, 0}, {and32, 2, 0, 0xffff},
		{load32, 3 | 1<<4, 0, 0}, {shift32, 3, 0, 16},
		{load32, 4 | 1<<4, 4, 0}, {load32, 5 | 1<<4, 8, 0},
	}
	for i := len(rules) - 1; i >= 0; i-- {
		p = append(p, check(rules[i])...)
		if r := rules[i]; r.kind == every && r.major == every && r.minor == every && r.access == accessAll {
			return p // the kernel refuses code that nothing leads to
		}
	}
	return append(p, instruction{set64, 0, 0, 0}, instruction{exit, 0, 0, 0})
}

// check is the code of one rule. A rule that allows must cover all that is asked; one that denies, any of it.
func check(r rule) []instruction {
	var tests []instruction
	if r.kind != every {
		tests = append(tests, instruction{notEqual, 2, 0, r.kind})
	}
	if r.major != every {
		tests = append(tests, instruction{notEqual, 4, 0, int32(r.major)})
	}
	if r.minor != every {
		tests = append(tests, instruction{notEqual, 5, 0, int32(r.minor)})
	}
	if r.access != accessAll {
		tests = append(tests, instruction{move32, 1 | 3<<4, 0, 0}, instruction{and32, 1, 0, r.access})
		if r.allow {
			tests = append(tests, instruction{different, 1 | 3<<4, 0, 0})
		} else {
			tests = append(tests, instruction{equal, 1, 0, 0}) // equal to nothing: not denied
		}
	}
	answer := int32(0)
	if r.allow {
		answer = 1
	}
	code := append(tests, instruction{set64, 0, 0, answer}, instruction{exit, 0, 0, 0})
	for i := range code {
		if code[i].code == notEqual || code[i].code == different || code[i].code == equal {
			code[i].offset = int16(len(code) - i - 1) // to the next rule
		}
	}
	return code
}

// allowDevices attaches the program, which lives as long as the cgroup.
func (g *Group) allowDevices(r *specs.LinuxResources) error {
	rules, err := deviceRules(r)
	if err != nil {
		return err
	}
	code := program(rules)
	if slices.Equal(code, g.devices) {
		return nil // a spare cgroup has it
	}
	license := []byte("Apache-2.0\x00")
	load := struct {
		kind, count   uint32
		code, license uint64
		logLevel      uint32
		_             [100]byte // the rest of union bpf_attr: zero
	}{kind: unix.BPF_PROG_TYPE_CGROUP_DEVICE, count: uint32(len(code)),
		code: uint64(uintptr(unsafe.Pointer(&code[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0])))}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&load)), unsafe.Sizeof(load))
	for errno == unix.EAGAIN { // a signal came, of Go's scheduler most likely, and the verifier gave up
		fd, _, errno = unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&load)), unsafe.Sizeof(load))
	}
	runtime.KeepAlive(code)
	runtime.KeepAlive(license)
	if errno != 0 {
		return fmt.Errorf("load the device filter: %w", errno)
	}
	defer func() { _ = unix.Close(int(fd)) }()
	dir, err := os.Open(g.dir)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	attach := struct{ target, program, kind, flags, replace uint32 }{
		target: uint32(dir.Fd()), program: uint32(fd), kind: unix.BPF_CGROUP_DEVICE}
	if _, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_ATTACH, uintptr(unsafe.Pointer(&attach)), unsafe.Sizeof(attach)); errno != 0 {
		return fmt.Errorf("attach the device filter: %w", errno)
	}
	g.devices = code
	return nil
}
