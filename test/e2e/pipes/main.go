// Command pipes does to pipes what programs do to them, and says "ok", or what came of it:
//
//	pipes mix           writes of many sizes, read, spliced and copied with tee, arrive as they were written
//	pipes whole         what several write at once, up to PIPE_BUF bytes each, arrives undivided
//	pipes out           writes of many sizes to stdout, and their SHA-256 to stderr
//	pipes faulty        the same, with writes between them that fail and leave empty pages behind
//	pipes full [SIZE]   fills a pipe, whose size is set first if there is one, and prints how many bytes it held
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// pipeBuf is PIPE_BUF.
const pipeBuf = 4096

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "mix":
		for seed := range uint64(6) {
			if err := mix(seed); err != nil {
				return err
			}
		}
	case len(args) == 1 && args[0] == "whole":
		if err := whole(); err != nil {
			return err
		}
	case len(args) == 1 && (args[0] == "out" || args[0] == "faulty"):
		sent := noise(9, 32<<20)
		fmt.Fprintf(os.Stderr, "%x", sha256.Sum256(sent))
		between := func(*rand.Rand) {}
		if args[0] == "faulty" {
			between = fault
		}
		return write(1, sent, rand.New(rand.NewPCG(9, 1)), between)
	case len(args) >= 1 && args[0] == "full":
		return full(args[1:])
	default:
		return errors.New("mix, whole, out, faulty or full")
	}
	fmt.Println("ok")
	return nil
}

// sized makes a pipe and sets its size.
func sized(size int) (r, w int, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return 0, 0, err
	}
	_, err = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, size)
	return fds[0], fds[1], err
}

func noise(seed uint64, size int) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	made := make([]byte, size)
	_, _ = rand.NewChaCha8(key).Read(made) // never fails
	return made
}

// mix passes bytes through two pipes, and what tee saw of the first through a third.
func mix(seed uint64) error {
	sent := noise(seed, 8<<20)
	inR, inW, err := sized(128 << 10)
	if err != nil {
		return err
	}
	outR, outW, outErr := sized(64 << 10)
	teeR, teeW, teeErr := sized(64 << 10)
	if err := errors.Join(outErr, teeErr); err != nil {
		return err
	}
	var work sync.WaitGroup
	random := func(part uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, part)) }
	do := func(f func() error) {
		work.Go(func() {
			if err := f(); err != nil { // nobody else gets any further
				fmt.Println("seed", seed, err)
				os.Exit(1)
			}
		})
	}
	do(func() error { return write(inW, sent, random(1), func(*rand.Rand) {}) })
	do(func() error { return pass(inR, outW, teeW, random(2)) })
	do(func() error { return compare(outR, sent, random(3)) })
	do(func() error { return compare(teeR, sent, random(4)) })
	work.Wait()
	return nil
}

// fault writes to stdout from memory that is not there, now and then.
func fault(random *rand.Rand) {
	if random.IntN(3) == 0 {
		_, _, _ = unix.RawSyscall(unix.SYS_WRITE, 1, 1, pipeBuf)
	}
}

func write(to int, left []byte, random *rand.Rand, between func(*rand.Rand)) error {
	sizes := []int{1, 100, pipeBuf - 1, pipeBuf, pipeBuf + 1, 10_000, 32 << 10, 32<<10 + 1, 100_000, 300_000}
	for len(left) > 0 {
		n, err := unix.Write(to, left[:min(len(left), sizes[random.IntN(len(sizes))])])
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("write: %w", err)
		}
		left = left[max(n, 0):]
		between(random)
	}
	return unix.Close(to)
}

// pass moves all from one pipe to another, by pages or by bytes, after a third has got the same.
func pass(from, to, copied int, random *rand.Rand) error {
	buffer := make([]byte, 200_000)
	for {
		most := 1 + random.IntN(len(buffer))
		n, err := unix.Tee(from, copied, most, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("tee: %w", err)
		}
		if n == 0 {
			return errors.Join(unix.Close(to), unix.Close(copied))
		}
		for left := int(n); left > 0; {
			var moved int
			if random.IntN(3) > 0 {
				var spliced int64
				spliced, err = unix.Splice(from, nil, to, nil, left, 0)
				moved = int(spliced)
			} else if moved, err = unix.Read(from, buffer[:left]); err == nil {
				err = writeAll(to, buffer[:moved])
			}
			if err != nil && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("move: %w", err)
			}
			left -= max(moved, 0)
		}
	}
}

func writeAll(to int, left []byte) error {
	for len(left) > 0 {
		n, err := unix.Write(to, left)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		left = left[max(n, 0):]
	}
	return nil
}

func compare(from int, want []byte, random *rand.Rand) error {
	buffer := make([]byte, 150_000)
	for at := 0; ; {
		n, err := unix.Read(from, buffer[:1+random.IntN(len(buffer))])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("read: %w", err)
		case n == 0 && at == len(want):
			return nil
		case n == 0:
			return fmt.Errorf("ends at byte %d of %d", at, len(want))
		case at+n > len(want) || !bytes.Equal(buffer[:n], want[at:at+n]):
			return fmt.Errorf("other bytes between %d and %d", at, at+n)
		}
		at += n
	}
}

// whole has writers of records that begin with their writer and length.
func whole() error {
	r, w, err := sized(128 << 10)
	if err != nil {
		return err
	}
	const writers, records = 4, 3000
	var work sync.WaitGroup
	for writer := range byte(writers) {
		work.Go(func() {
			random := rand.New(rand.NewPCG(uint64(writer), 5))
			for range records {
				size := 3 + random.IntN(pipeBuf-2)
				record := bytes.Repeat([]byte{writer}, size)
				record[1], record[2] = byte(size>>8), byte(size)
				for {
					if _, err := unix.Write(w, record); !errors.Is(err, unix.EINTR) {
						break
					}
				}
			}
		})
	}
	go func() { work.Wait(); _ = unix.Close(w) }()
	in := os.NewFile(uintptr(r), "pipe")
	var head [3]byte
	for n := 0; ; n++ {
		if _, err := io.ReadFull(in, head[:]); err == io.EOF && n == writers*records {
			return nil
		} else if err != nil {
			return fmt.Errorf("after %d records: %w", n, err)
		}
		rest := make([]byte, int(head[1])<<8+int(head[2])-3)
		if _, err := io.ReadFull(in, rest); err != nil || len(bytes.Trim(rest, string(head[:1]))) > 0 {
			return fmt.Errorf("record %d is divided, %v", n, err)
		}
	}
}

// full writes until nothing more fits.
func full(args []string) error {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return err
	}
	if len(args) > 0 {
		size, err := strconv.Atoi(args[0])
		if err == nil {
			_, err = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, size)
		}
		if err != nil {
			return err
		}
	}
	total := 0
	for {
		n, err := unix.Write(fds[1], make([]byte, 64<<10))
		if errors.Is(err, unix.EAGAIN) {
			fmt.Println(total)
			return nil
		}
		if err != nil {
			return err
		}
		total += n
	}
}
