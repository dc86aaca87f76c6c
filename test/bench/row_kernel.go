package main

import (
	"context"
	"errors"
	"os"
	"runtime"
	"time"

	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// bootKernel compares our kernel with a peer's, which is not in this repository.
func bootKernel() row {
	return row{
		name: "kernel", what: "boot of our kernel to its init, from QEMU's exec", reference: "the same QEMU and machine booting a kernel of a peer's configuration",
		target: target{ratio: 0.25},
		measure: func(ctx context.Context, s *stage) (measured, error) {
			path := os.Getenv("PEER_KERNEL")
			if path == "" || runtime.GOARCH != "amd64" {
				return measured{}, unavailable("PEER_KERNEL names no bzImage for x86_64; `kernel/bench/compare.sh PEER_CONFIG` builds one and compares in more detail")
			}
			initrd, err := s.smallest(ctx)
			if err != nil {
				return measured{}, err
			}
			peer := hypervisor.Kernel{Path: path, Format: "bzimage", CommandLine: s.bare.kernel.CommandLine}
			return pairs(ctx, s.count, s.bare.reaches(s.bare.kernel, initrd), s.bare.reaches(peer, initrd))
		},
	}
}

// reaches measures from QEMU's exec until the init speaks.
func (b *bare) reaches(kernel hypervisor.Kernel, initrd string) once {
	return func(ctx context.Context) (float64, error) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		began := time.Now()
		g, err := b.boot(ctx, kernel, initrd)
		if err != nil {
			return 0, err
		}
		err = g.await(initSays)
		took := time.Since(began).Seconds()
		return took, errors.Join(err, g.wait())
	}
}
