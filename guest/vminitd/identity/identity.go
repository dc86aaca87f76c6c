// Package identity gives a machine what makes it one of its own: randomness, time, a name. It is applied after a boot and after a restore alike.
package identity

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// minEntropy is the least a host may give, in bytes: what the kernel needs to count its pool as full.
const minEntropy = 32

const maxEntropy = 4096

// AddEntropy mixes the host's random bytes into the kernel's pool, credits them and reseeds at once. Clones of one VM share their random state
// until this is done.
func AddEntropy(entropy []byte) error {
	if len(entropy) < minEntropy || len(entropy) > maxEntropy {
		return fmt.Errorf("%d bytes of entropy; %d to %d are needed", len(entropy), minEntropy, maxEntropy)
	}
	urandom, err := unix.Open("/dev/urandom", unix.O_WRONLY|unix.O_CLOEXEC, 0) // not by package os, whose poller would learn of it
	if err != nil {
		return fmt.Errorf("open /dev/urandom: %w", err)
	}
	defer func() { _ = unix.Close(urandom) }()
	// struct rand_pool_info: bits, bytes, data
	pool := make([]uint32, 2, 2+(len(entropy)+3)/4)
	pool[0], pool[1] = uint32(len(entropy)*8), uint32(len(entropy))
	pool = pool[:cap(pool)]
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&pool[2])), (len(pool)-2)*4), entropy)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(urandom), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&pool[0]))); errno != 0 {
		return fmt.Errorf("add entropy: %w", errno)
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(urandom), unix.RNDRESEEDCRNG, 0); errno != 0 {
		return fmt.Errorf("reseed: %w", errno)
	}
	return nil
}

// SetTime sets the clock.
func SetTime(t time.Time) error {
	if t.Year() < 2000 || t.Year() > 2200 {
		return errors.New("time is out of range")
	}
	spec := unix.NsecToTimespec(t.UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &spec); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	return nil
}

// SetHostname names the machine.
func SetHostname(name string) error {
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	return nil
}

// Uptime is how long ago the kernel started, suspended time not counted.
func Uptime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
