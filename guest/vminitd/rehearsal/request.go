package rehearsal

import (
	"bytes"
	"crypto/rand"
	_ "embed" // the spec
	"fmt"
	"runtime"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/timestamppb"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/guest/seccomp"
)

// spec is what the core makes for a container without options; a test of package test/guest says so. It runs programTrue.
//
//go:embed spec.json
var spec []byte

const (
	hostname     = "rehearsal"
	entropyBytes = 64
)

// addresses are those of the machine's card in the rehearsal, of blocks that are nobody's (RFC 5737, RFC 3849).
var addresses = []string{"192.0.2.2/24", "2001:db8::2/64"}

func adoptRequest(m *machine) *guestv1.AdoptRequest {
	entropy := make([]byte, entropyBytes)
	_, _ = rand.Read(entropy) // never fails
	request := &guestv1.AdoptRequest{Entropy: entropy, Hostname: hostname, Time: timestamppb.Now()}
	if mtu, ok := m.cards.MTU(); ok {
		request.Interfaces = []*guestv1.Interface{{Mac: "02:00:00:00:00:01", Mtu: mtu, Addresses: addresses,
			Routes: []*guestv1.Route{{Destination: "0.0.0.0/0", Gateway: "192.0.2.1"}, {Destination: "::/0", Gateway: "2001:db8::1"}}}}
		request.Dns = &guestv1.Dns{Servers: []string{"192.0.2.1", "2001:db8::1"}, Search: []string{"rehearsal"}}
	}
	return request
}

func createRequest(m *machine, program string) (*guestv1.CreateContainerRequest, error) {
	filter, err := seccomp.Compile(profile(), runtime.GOARCH)
	if err != nil {
		return nil, fmt.Errorf("make a system call filter: %w", err)
	}
	request := &guestv1.CreateContainerRequest{ContainerId: containerID, Hostname: hostname,
		OciSpec: bytes.ReplaceAll(spec, []byte(programTrue), []byte(program)),
		Seccomp: &guestv1.SeccompFilter{Program: seccomp.Encode(filter.Program), Flags: filter.Flags}}
	for _, serial := range m.disks.lower {
		request.Lower = append(request.Lower, &guestv1.Disk{Serial: serial, FileSystem: "ext4"})
	}
	if m.disks.upper != "" {
		request.Upper = &guestv1.Disk{Serial: m.disks.upper, FileSystem: "ext4"}
	}
	return request, nil
}

// profile has each kind of rule that the default profile of system calls has.
func profile() *specs.LinuxSeccomp {
	denied := uint(1)
	return &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: &denied, Syscalls: []specs.LinuxSyscall{
		{Names: []string{ // of the program, and of the helper that becomes it
			"access", "arch_prctl", "brk", "capget", "capset", "clock_gettime", "close", "epoll_ctl", "epoll_pwait", "execve", "execveat", "exit", "exit_group", "faccessat", "faccessat2", "fcntl", "fstat", "futex",
			"getdents64", "getpid", "getrandom", "gettid", "ioctl", "lseek", "madvise", "mmap", "mprotect", "munmap", "nanosleep", "newfstatat", "openat", "ppoll", "prctl", "pread64", "prlimit64",
			"read", "readlink", "readlinkat", "rseq", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sched_yield", "sendmsg", "set_robust_list", "set_tid_address", "setgid", "setgroups", "setresgid", "setresuid", "setuid", "sigaltstack", "stat",
			"statx", "tgkill", "timer_settime", "unlinkat", "write"}, Action: specs.ActAllow},
		{Names: []string{"personality"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 0, Value: 0xffffffff, Op: specs.OpEqualTo}}},
		{Names: []string{"socket"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 0, Value: 40, Op: specs.OpNotEqual}}},
		{Names: []string{"clone"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 0, Value: 2114060288, Op: specs.OpMaskedEqual}}},
		{Names: []string{"clone3"}, Action: specs.ActErrno, ErrnoRet: new(uint)},
	}}
}
