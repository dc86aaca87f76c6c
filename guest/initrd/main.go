// Command initrd packs the initial RAM disk of every VM:
//
//	go run ./guest/initrd -o libexec/vzctl/initrd.cpio VMINITD
//
// It holds /init, which is the file VMINITD, and /dev/console, which the kernel opens for it. The bytes depend on the file's content alone.
// Not compressed: unpacking is on the path of every cold start, and the kernel then needs no decompressor.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	out := flag.String("o", "", "file to write")
	flag.Parse()
	if err := run(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "initrd:", err)
		os.Exit(1)
	}
}

func run(out string, args []string) error {
	if out == "" || len(args) != 1 {
		return errors.New("usage: initrd -o FILE VMINITD")
	}
	program, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(program, []byte("\x7fELF")) {
		return fmt.Errorf("%s is not an ELF executable", args[0])
	}
	return replace(out, archive(program))
}

// replace writes the file whole or not at all.
func replace(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".initrd-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}
