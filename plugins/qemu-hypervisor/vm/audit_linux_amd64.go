package vm

import "golang.org/x/sys/unix"

// auditArch is what the kernel's filters call the host's architecture.
const auditArch = unix.AUDIT_ARCH_X86_64
