package cage

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

// harmlessHere are those that this architecture has, too.
var harmlessHere = []uint32{unix.SYS_FSTATAT}
