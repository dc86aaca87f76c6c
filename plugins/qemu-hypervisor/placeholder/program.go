package placeholder

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// The programs do what the start of most programs has the kernel do, so that this has run: a few instructions for amd64, written down as they are, as no program of
// Go is small and no other compiler is needed here.

// Where things are in memory.
const (
	textAt, codeAt = 0x400000, 0x401000
	tableAt        = 0x402000
	textsAt        = 0x405000
	zerosAt        = 0x406000 // what is not in the file, up to endAt
	endAt          = 0x40a000
	freeAt         = 0x10000000 // for mappings
	page           = 0x1000
)

// interpreter goes to where the program begins: mov $codeAt, %eax; jmp *%rax.
var interpreter = []byte{0xb8, 0x00, 0x10, 0x40, 0x00, 0xff, 0xe0}

// caller makes the system calls of the table at tableAt, seven words each: a number and six arguments. Numbers below zero are something else, see table.
//
//	   mov    $tableAt, %ebx
//	1: mov    (%rbx), %rax; mov 8(%rbx), %rdi; mov 16(%rbx), %rsi; mov 24(%rbx), %rdx; mov 32(%rbx), %r10; mov 40(%rbx), %r8; mov 48(%rbx), %r9
//	   add    $56, %rbx
//	   cmp    $-1, %rax; je 2f; cmp $-2, %rax; je 3f; cmp $-3, %rax; je 4f; cmp $-4, %rax; je 5f; cmp $-5, %rax; je 6f
//	   syscall
//	   mov    %rax, %rbp
//	   jmp    1b
//	2: incb   (%rdi)
//	   jmp    1b
//	3: add    %rbp, %rdi; mov $12, %eax // brk
//	   syscall
//	   incb   -1(%rax)
//	   jmp    1b
//	4: mov    (%rdi), %al
//	   jmp    1b
//	5: neg    %rdi
//	   incb   (%rsp,%rdi)
//	   jmp    1b
//	6: mov    $56, %eax; mov $17, %edi; xor %esi, %esi; xor %edx, %edx; xor %r10d, %r10d; xor %r8d, %r8d // clone, SIGCHLD
//	   syscall
//	   test   %rax, %rax; jnz 1b
//	   mov    $59, %eax; mov -48(%rbx), %rdi; mov -40(%rbx), %rsi; mov -32(%rbx), %rdx // execve
//	   syscall
//	   hlt
var caller = []byte{
	0xbb, 0x00, 0x20, 0x40, 0x00, 0x48, 0x8b, 0x03, 0x48, 0x8b, 0x7b, 0x08, 0x48, 0x8b, 0x73, 0x10, 0x48, 0x8b, 0x53, 0x18,
	0x4c, 0x8b, 0x53, 0x20, 0x4c, 0x8b, 0x43, 0x28, 0x4c, 0x8b, 0x4b, 0x30, 0x48, 0x83, 0xc3, 0x38, 0x48, 0x83, 0xf8, 0xff,
	0x74, 0x1f, 0x48, 0x83, 0xf8, 0xfe, 0x74, 0x1d, 0x48, 0x83, 0xf8, 0xfd, 0x74, 0x26, 0x48, 0x83, 0xf8, 0xfc, 0x74, 0x24,
	0x48, 0x83, 0xf8, 0xfb, 0x74, 0x26, 0x0f, 0x05, 0x48, 0x89, 0xc5, 0xeb, 0xbc, 0xfe, 0x07, 0xeb, 0xb8, 0x48, 0x01, 0xef,
	0xb8, 0x0c, 0x00, 0x00, 0x00, 0x0f, 0x05, 0xfe, 0x40, 0xff, 0xeb, 0xa9, 0x8a, 0x07, 0xeb, 0xa5, 0x48, 0xf7, 0xdf, 0xfe,
	0x04, 0x3c, 0xeb, 0x9d, 0xb8, 0x38, 0x00, 0x00, 0x00, 0xbf, 0x11, 0x00, 0x00, 0x00, 0x31, 0xf6, 0x31, 0xd2, 0x45, 0x31,
	0xd2, 0x45, 0x31, 0xc0, 0x0f, 0x05, 0x48, 0x85, 0xc0, 0x75, 0x82, 0xb8, 0x3b, 0x00, 0x00, 0x00, 0x48, 0x8b, 0x7b, 0xd0,
	0x48, 0x8b, 0x73, 0xd8, 0x48, 0x8b, 0x53, 0xe0, 0x0f, 0x05, 0xf4,
}

// ender ends: mov $231, %eax; xor %edi, %edi; syscall.
var ender = []byte{0xb8, 0xe7, 0x00, 0x00, 0x00, 0x31, 0xff, 0x0f, 0x05}

// waiter reads its input to the end.
//
//	   sub    $64, %rsp
//	1: xor    %eax, %eax; xor %edi, %edi; mov %rsp, %rsi; mov $1, %edx
//	   syscall
//	   test   %rax, %rax; jg 1b
//	   mov    $231, %eax; xor %edi, %edi
//	   syscall
var waiter = []byte{0x48, 0x83, 0xec, 0x40,
	0x31, 0xc0, 0x31, 0xff, 0x48, 0x89, 0xe6, 0xba, 0x01, 0x00, 0x00, 0x00, 0x0f, 0x05, 0x48, 0x85, 0xc0, 0x7f, 0xed,
	0xb8, 0xe7, 0x00, 0x00, 0x00, 0x31, 0xff, 0x0f, 0x05}

// Numbers of amd64's system calls.
const (
	storeByte                                                            = -1 // write a byte to the address that is the first argument
	enlargeHeap                                                          = -2 // by as much, and write its last byte; callBrk comes just before
	loadByte                                                             = -3 // read from the address
	deepen                                                               = -4 // write so far below the stack's end
	runChild                                                             = -5 // fork, and execute in the child what execve's arguments say
	callRead, callWrite, callClose, callFstat                            = 0, 1, 3, 5
	callMmap, callMprotect, callMunmap, callBrk                          = 9, 10, 11, 12
	callSigaction, callSigprocmask, callIoctl, callPread                 = 13, 14, 16, 17
	callAccess, callReadlink, callArchPrctl, callGetdents                = 21, 89, 158, 217
	callSetTID, callExitGroup, callOpenat, callFstatat                   = 218, 231, 257, 262
	callUnlinkat, callRobustList, callPrlimit, callGetrandom             = 263, 273, 302, 318
	callPoll, callPipe2, callNanosleep, callWait4                        = 7, 293, 35, 61
	callStat, callGetcwd, callUname, callFsync, callFtruncate            = 4, 79, 63, 74, 77
	callRename, callMkdir, callRmdir, callSymlink, callChmod, callStatfs = 82, 83, 84, 88, 90, 137
	callRseq                                                             = 334
)

// largeSize of a file that the program reads here and there, in bytes.
const largeSize = 256 * page

// says is what the program writes.
const says = "rehearsal\n"

// table is the system calls of the program, and the texts they name.
func table() (calls, texts []byte) {
	call := func(words ...int64) {
		var all [7]int64
		copy(all[:], words)
		for _, w := range all {
			calls = binary.LittleEndian.AppendUint64(calls, uint64(w))
		}
	}
	text := func(s string) int64 {
		at := int64(textsAt + len(texts))
		texts = append(append(texts, s...), 0)
		return at
	}
	const cwd, buffer, file = -100, zerosAt + page, 3 // the first descriptor that is free
	open := func(path string, flags int64) { call(callOpenat, cwd, text(path), flags, 0o644) }
	shut := func() { call(callClose, file) }

	// The dynamic linker's and the C library's beginning.
	call(callBrk)
	call(callArchPrctl, 0x1002, zerosAt) // ARCH_SET_FS
	call(callSetTID, zerosAt)
	call(callRobustList, zerosAt+0x40, 24)
	call(callRseq, zerosAt+0x80, 32, 0, 0x53053053)
	call(callPrlimit, 0, 3, 0, buffer)
	call(callReadlink, text("/proc/self/exe"), buffer, page)
	call(callGetrandom, buffer, 8, 1) // not to wait
	call(callAccess, text("/etc/ld.so.preload"), 4)
	open("/etc/ld.so.cache", 0x80000)
	open("/lib/ld", 0x80000)
	call(callRead, file, buffer, 832)
	call(callPread, file, buffer, 64, 64)
	call(callFstat, file, buffer)
	call(callFstatat, file, text(""), buffer, 0x1000)
	call(callMmap, freeAt, page, 5, 0x812, file) // to be executed
	call(callMmap, freeAt+page, page, 3, 0x12, file)
	call(storeByte, freeAt+page)
	call(callMmap, freeAt+2*page, 4*page, 3, 0x32, -1)
	call(storeByte, freeAt+2*page)
	call(storeByte, freeAt+5*page)
	call(callMprotect, freeAt+2*page, page, 1)
	call(callMunmap, freeAt+4*page, page)
	shut()
	call(callMprotect, textsAt, page, 1)
	call(storeByte, zerosAt)
	call(storeByte, endAt-8)
	call(callBrk)
	call(enlargeHeap, 3*page)
	call(callSigaction, 2, 0, buffer, 8)
	call(callSigprocmask, 0, buffer, 0, 8)
	call(callIoctl, 1, 0x5401, buffer) // TCGETS
	call(callMunmap, freeAt, 6*page)
	call(deepen, 20*page)

	// A large file that is executed: what is not in memory yet is read while the program waits in the middle of its own code, in another state of the CPU than in a
	// system call.
	open("/lib/data", 0x80000)
	call(callMmap, freeAt, largeSize, 5, 0x12, file)
	call(callMmap, freeAt+2*largeSize, largeSize, 3, 0x12, file)
	for _, n := range []int64{100, 0, 16, 32, 33, 64, 65, 180, 120, 140, 160} {
		call(loadByte, freeAt+n*page)
		call(storeByte, freeAt+2*largeSize+(n^0x55)*page)
		call(loadByte, freeAt+2*largeSize+(n^0xaa)*page)
		call(storeByte, freeAt+2*largeSize+(n^0xaa)*page)
	}
	shut()

	// Files: a directory, one of the image that is changed, and a new one.
	open("/", 0x90000)
	call(callGetdents, file, buffer, page)
	shut()
	open("/etc/group", 0x401) // O_WRONLY|O_APPEND
	call(callWrite, file, text("x"), 1)
	shut()
	open("/tmp/new", 0x241) // O_WRONLY|O_CREAT|O_TRUNC
	call(callWrite, file, text("x"), 1)
	shut()
	call(callUnlinkat, cwd, text("/tmp/new"))

	// What shells and scripts do.
	path := text("/bin/exit")
	texts = append(texts, make([]byte, -len(texts)&7)...)
	argv := int64(textsAt + len(texts))
	texts = binary.LittleEndian.AppendUint64(texts, uint64(path))
	texts = append(texts, make([]byte, 8)...)
	call(runChild, path, argv, argv+8)
	call(callWait4, -1, buffer)
	call(callPipe2, buffer)
	call(callWrite, file+1, text("x"), 1)
	call(callRead, file, buffer, 1)
	shut()
	call(callClose, file+1)
	call(callNanosleep, zerosAt+0x200) // for no time
	call(callPoll, 0, 0, 0)
	call(callGetcwd, buffer, page)
	call(callUname, buffer)
	call(callStat, text("/etc/passwd"), buffer)
	call(callStatfs, text("/"), buffer)
	call(callMkdir, text("/tmp/dir"), 0o755)
	call(callSymlink, text("dir"), text("/tmp/link"))
	open("/tmp/link/new", 0x241)
	call(callWrite, file, tableAt, 2*page)
	call(callFtruncate, file, page)
	call(callFsync, file)
	shut()
	call(callChmod, text("/tmp/dir/new"), 0o600)
	call(callRename, text("/tmp/dir/new"), text("/tmp/other"))
	call(callUnlinkat, cwd, text("/tmp/other"))
	call(callUnlinkat, cwd, text("/tmp/link"))
	call(callRmdir, text("/tmp/dir"))

	// A directory of the host, if there is one.
	open("/source0", 0x90000)
	call(callGetdents, file, buffer, page)
	shut()
	open("/source0/new", 0x242) // O_RDWR|O_CREAT|O_TRUNC
	call(callWrite, file, text("x"), 1)
	call(callFstat, file, buffer)
	call(callPread, file, buffer, 1, 0)
	shut()
	call(callUnlinkat, cwd, text("/source0/new"))

	call(callWrite, 1, text(says), int64(len(says)))
	call(callExitGroup)
	return calls, texts
}

// program is loaded to where it says, by an interpreter.
func program() []byte {
	const path = "/lib/ld\x00"
	calls, texts := table()
	file := make([]byte, zerosAt-textAt)
	copy(file[codeAt-textAt:], caller)
	copy(file[tableAt-textAt:], calls)
	copy(file[textsAt-textAt:], texts)
	head := header(elf.ET_EXEC, codeAt,
		elf.Prog64{Type: uint32(elf.PT_INTERP), Flags: uint32(elf.PF_R), Off: 0x800, Vaddr: textAt + 0x800, Filesz: uint64(len(path)), Memsz: uint64(len(path)), Align: 1},
		elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: textAt, Filesz: tableAt - textAt, Memsz: tableAt - textAt, Align: page},
		elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W), Off: tableAt - textAt, Vaddr: tableAt,
			Filesz: uint64(textsAt - tableAt + len(texts)), Memsz: endAt - tableAt, Align: page})
	copy(file, head)
	copy(file[0x800:], path)
	return file[:textsAt-textAt+len(texts)]
}

// anywhere is a program that may be loaded anywhere: code, and data that it does not use. The data is there for kernels that fill the last page of an interpreter up
// with zeros, as if it could always be written.
func anywhere(code []byte) []byte {
	const data, dataSize = 2 * page, 16
	file := make([]byte, data+dataSize)
	copy(file[page:], code)
	copy(file, header(elf.ET_DYN, page,
		elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Filesz: uint64(page + len(code)), Memsz: uint64(page + len(code)), Align: page},
		elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W), Off: data, Vaddr: data, Filesz: dataSize, Memsz: 2 * page, Align: page}))
	return file
}

// header is that of a file, with a stack that nothing is executed on.
func header(kind elf.Type, entry uint64, parts ...elf.Prog64) []byte {
	parts = append(parts, elf.Prog64{Type: uint32(elf.PT_GNU_STACK), Flags: uint32(elf.PF_R | elf.PF_W), Align: 16})
	h := elf.Header64{Type: uint16(kind), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Entry: entry,
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: uint16(len(parts))}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	for i := range parts {
		parts[i].Paddr = parts[i].Vaddr
	}
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, h) // neither fails into memory
	_ = binary.Write(&b, binary.LittleEndian, parts)
	return b.Bytes()
}
