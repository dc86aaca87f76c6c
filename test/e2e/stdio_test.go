package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// digest counts and sums what is written to it, so that much output need not be kept.
type digest struct {
	hash.Hash
	bytes int64
}

func newDigest() *digest { return &digest{Hash: sha256.New()} }

func (d *digest) Write(b []byte) (int, error) {
	d.bytes += int64(len(b))
	return d.Hash.Write(b)
}

func (d *digest) hex() string { return hex.EncodeToString(d.Sum(nil)) }

// stream runs a command with the caller's own ends of its streams.
func (p *person) stream(stdin io.Reader, stdout, stderr io.Writer, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := p.command(ctx, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	return errors.Join(cmd.Run(), ctx.Err())
}

// TestE2EStreams shares one container, which has 20 MiB of noise.
func TestE2EStreams(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("run", "-d", "--name", name, p.desk.busybox, "sleep", "1000")
	sum, _, _ := strings.Cut(p.must("exec", name, "sh", "-c", "head -c 20m /dev/urandom >/noise; head -c 5m /noise >/rest; sha256sum /noise"), " ")
	noise := []byte(p.must("exec", name, "cat", "/noise", "/rest"))
	on := func(name string, f func(t *testing.T, p *person)) {
		t.Run(name, func(t *testing.T) { f(t, me(t)) })
	}
	on("250 MiB on stdout", func(t *testing.T, p *person) { muchOutput(t, p, name, noise[:25<<20], "") })
	on("250 MiB on stderr", func(t *testing.T, p *person) { muchOutput(t, p, name, noise[:25<<20], " >&2") })
	on("all byte values both ways", func(t *testing.T, p *person) {
		var all []byte
		for i := range 1 << 16 {
			all = append(all, byte(i>>8), byte(i))
		}
		var out, errs bytes.Buffer
		if err := p.stream(bytes.NewReader(all), &out, &errs, "exec", "-i", name, "sh", "-c", "tee /dev/stderr"); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), all) || !bytes.Equal(errs.Bytes(), all) {
			t.Errorf("%d and %d bytes came back of %d, or others", out.Len(), errs.Len(), len(all))
		}
	})
	on("10 MiB of input, counted there", func(t *testing.T, p *person) {
		if r := p.vzctlWith(strings.Repeat("0123456789abcde\n", 10<<20/16), "exec", "-i", name, "wc", "-c"); r.stdout != strconv.Itoa(10<<20)+"\n" {
			t.Errorf("%+v", r)
		}
	})
	on("input in pieces keeps its order", func(t *testing.T, p *person) {
		var want strings.Builder
		reader, writer := io.Pipe()
		go func() {
			for i := range 10 {
				_, _ = io.WriteString(writer, strings.Repeat(strconv.Itoa(i), 10<<10))
			}
			_ = writer.Close()
		}()
		for i := range 10 {
			want.WriteString(strings.Repeat(strconv.Itoa(i), 10<<10))
		}
		var out bytes.Buffer
		if err := p.stream(reader, &out, os.Stderr, "exec", "-i", name, "cat"); err != nil || out.String() != want.String() {
			t.Errorf("%d bytes came back of %d, or others; %v", out.Len(), want.Len(), err)
		}
	})
	on("closed input ends a process that reads, and nothing else", func(t *testing.T, p *person) {
		if r := p.vzctlWith("", "exec", "-i", name, "sh", "-c", "cat; echo end; echo error >&2; exit 3"); r.stdout != "end\n" || r.stderr != "error\n" || r.code != 3 {
			t.Errorf("%+v", r)
		}
	})
	on("a process that does not read its input", func(t *testing.T, p *person) {
		if r := p.vzctlWith(strings.Repeat("x", 4<<20), "exec", "-i", name, "sh", "-c", "exec <&-; echo done"); r.stdout != "done\n" || r.code != 0 {
			t.Errorf("stdout %q, stderr %q, exit code %d", r.stdout, r.stderr, r.code)
		}
	})
	on("what was written last before the end arrives", func(t *testing.T, p *person) {
		for i := range 10 {
			// 300 KiB are more than the pipe holds at first.
			r := p.vzctl("exec", name, "sh", "-c", fmt.Sprintf("head -c 300k /noise | tr -c a a; printf last >&2; exit %d", i))
			if len(r.stdout) != 300<<10 || r.stderr != "last" || r.code != i {
				t.Errorf("%d bytes, %q, exit code %d; want %d, %q, %d", len(r.stdout), r.stderr, r.code, 300<<10, "last", i)
			}
		}
	})
	on("lines of both streams stay in order", func(t *testing.T, p *person) {
		r := p.vzctl("exec", name, "sh", "-c", "for i in $(seq 1 2000); do echo $i; echo $i >&2; done")
		var want strings.Builder
		for i := range 2000 {
			fmt.Fprintln(&want, i+1)
		}
		if r.stdout != want.String() || r.stderr != want.String() {
			t.Errorf("%d and %d bytes, want twice %d", len(r.stdout), len(r.stderr), want.Len())
		}
	})
	on("who is left behind with the output is not waited for", func(t *testing.T, p *person) {
		for _, flag := range []string{"-i", "-t"} {
			r := p.vzctl("exec", flag, name, "sh", "-c", "trap '' HUP; sleep 600 & head -c 200k /noise | tr -c a a; printf last")
			if len(r.stdout) != 200<<10+4 || !strings.HasSuffix(r.stdout, "last") || r.code != 0 {
				t.Errorf("exec %s: %d bytes, exit code %d, stderr %q", flag, len(r.stdout), r.code, r.stderr)
			}
		}
		if got := p.must("exec", name, "sh", "-c", "ps -o args | grep -c '^sleep 600'"); got != "2\n" {
			t.Errorf("of those left behind run %q, want both, as nobody waits for their end", got)
		}
	})
	on("81 processes at once write all of their 20 MiB", func(t *testing.T, p *person) {
		var all sync.WaitGroup
		for i := range 81 {
			all.Go(func() {
				out, errs := newDigest(), new(strings.Builder)
				if err := p.stream(nil, out, errs, "exec", name, "cat", "/noise"); err != nil || out.hex() != sum {
					t.Errorf("process %d: %d bytes, sum %s, want %s; %v, %s", i, out.bytes, out.hex(), sum, err, errs)
				}
			})
		}
		all.Wait()
	})
	on("a slow reader holds up the writer, and takes no memory", func(t *testing.T, p *person) { slowReader(t, p, name) })
}

// muchOutput has a container's noise written ten times, to stdout or stderr.
func muchOutput(t *testing.T, p *person, name string, noise []byte, redirect string) {
	want, out, silent := newDigest(), newDigest(), newDigest()
	for range 10 {
		_, _ = want.Write(noise)
	}
	stdout, stderr := out, silent
	if redirect != "" {
		stdout, stderr = silent, out
	}
	if err := p.stream(nil, stdout, stderr, "exec", name, "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do cat /noise /rest; done"+redirect); err != nil {
		t.Fatal(err)
	}
	if out.bytes != want.bytes || silent.bytes != 0 || out.hex() != want.hex() {
		t.Errorf("%d bytes with sum %s, and %d on the other stream; want %d with sum %s", out.bytes, out.hex(), silent.bytes, want.bytes, want.hex())
	}
}

// slowReader reads nothing of much output until its writer stands still, and then all of it. What is not read has to be somewhere: nearly all of it with the writer.
func slowReader(t *testing.T, p *person, name string) {
	const pieces, waiting = 100, 24 // MiB in all, and at most under way
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := p.command(ctx, "exec", name, "sh", "-c", fmt.Sprintf("head -c 1m /noise >/piece; for i in $(seq 1 %d); do cat /piece; echo >>/pieces; done", pieces))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	count := func(command string) (n int) {
		t.Helper()
		n, err := strconv.Atoi(strings.TrimSpace(p.must("exec", name, "sh", "-c", command)))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	const written, free = "touch /pieces; wc -l </pieces", "awk '/MemFree/ {print $2}' /proc/meminfo"
	begun := count(free)
	still, last := 0, -1
	for deadline := time.Now().Add(patience); still < 5; time.Sleep(100 * time.Millisecond) { // nobody tells that a process waits
		n := count(written)
		if n == last {
			still++
		} else {
			still, last = 0, n
		}
		if n > waiting || time.Now().After(deadline) {
			t.Fatalf("%d MiB were written of which none was read", n)
		}
	}
	if taken := (begun - count(free)) >> 10; taken > waiting {
		t.Errorf("the guest has %d MiB less while its output is not read", taken)
	}
	n, err := io.Copy(io.Discard, out)
	if err := errors.Join(err, cmd.Wait()); err != nil || n != pieces<<20 {
		t.Errorf("%d bytes came of %d: %v", n, pieces<<20, err)
	}
	if n := count(written); n != pieces {
		t.Errorf("the writer wrote %d pieces, want %d", n, pieces)
	}
}
