package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/vzctl/vzctl/guest/serialmux"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/vmtest/port"
)

const streamed = 256 << 20 // bytes

// throughput is of a container's stdout, from first to last byte.
func throughput() row {
	return row{
		name: "stdio", what: "throughput of stdout: `vzctl run IMAGE dd if=/dev/zero`, 256 MiB", reference: "a raw stream of the same multiplexer over the same virtio-serial port, from a guest that does nothing else",
		unit: bytesPerSecond, target: target{ratio: 0.8, atLeast: true},
		measure: func(ctx context.Context, s *stage) (measured, error) {
			initrd, err := s.goInitrd(ctx, "./plugins/qemu-hypervisor/vmtest/guest")
			if err != nil {
				return measured{}, err
			}
			raw := func(ctx context.Context) (float64, error) { return s.bare.stream(ctx, initrd) }
			return pairs(ctx, 3*s.count, s.catZero, raw)
		},
	}
}

func (s *stage) catZero(ctx context.Context) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := s.vzctl(ctx, "run", "--rm", s.image, "dd", "if=/dev/zero", "bs=64k", fmt.Sprint("count=", streamed>>16))
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	speed, err := rate(out)
	return speed, explain(cmd, errors.Join(err, cmd.Wait()), &complaints)
}

// stream asks a guest for as many bytes, without vzctl between.
func (b *bare) stream(ctx context.Context, initrd string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	g, err := b.boot(ctx, b.kernel, initrd)
	if err != nil {
		return 0, err
	}
	defer g.kill()
	if err := g.await(port.FirstLine); err != nil {
		return 0, err
	}
	pipe, err := net.Dial("unix", g.mux)
	if err != nil {
		return 0, err
	}
	session, err := serialmux.Host(ctx, pipe, nil) // has the pipe now
	if err != nil {
		return 0, err
	}
	speed, err := ask(ctx, session)
	return speed, errors.Join(err, session.Close())
}

func ask(ctx context.Context, session *serialmux.Session) (float64, error) {
	conn, err := session.Dial(ctx, port.Source)
	if err != nil {
		return 0, err
	}
	if _, err := fmt.Fprintf(conn, "%d\n", streamed); err != nil {
		return 0, err
	}
	speed, err := rate(conn)
	return speed, errors.Join(err, conn.Close())
}

// rate reads what was agreed on and returns bytes a second, between the first bytes and the last.
func rate(r io.Reader) (float64, error) {
	buffer := make([]byte, 256<<10)
	first, err := r.Read(buffer)
	if err != nil {
		return 0, fmt.Errorf("read the first bytes: %w", err)
	}
	began := time.Now()
	rest, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buffer)
	took := time.Since(began)
	if total := int64(first) + rest; err == nil && total != streamed {
		err = fmt.Errorf("%d bytes arrived, not %d", total, streamed)
	}
	return float64(rest) / took.Seconds(), err
}
