package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// Machine is what has to be the same for a VM to go on.
type Machine struct {
	// QEMU, Kernel and Initrd are what it ran on, by content.
	QEMU, Kernel, Initrd File
	// Accelerator, and what there is to know of the processor unless it is emulated.
	Accelerator string
	CPU         []string
	// Shape is the machine's layout, a list of words.
	Shape []string
	// TSCKilohertz is the rate of the host's cycle counter, which hosts measure anew at each boot; 0 if unknown.
	TSCKilohertz uint64
	// NamedMemory says that the guest's memory was one of its own name, and not the machine's default. It may differ.
	NamedMemory bool
}

// File is one by its content. The zero value is none.
type File struct {
	Path   string
	Digest string
}

// Fingerprint reads a file; "" is none.
func Fingerprint(path string) (File, error) {
	if path == "" {
		return File{}, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	sum := sha256.New()
	_, err = io.Copy(sum, file)
	return File{Path: path, Digest: hex.EncodeToString(sum.Sum(nil))}, errors.Join(err, file.Close())
}

// DifferentError says in what a machine is not the one that was saved.
type DifferentError struct{ What, Was, Is string }

func (e *DifferentError) Error() string {
	if e.Was == "" && e.Is == "" {
		return e.What + " is not the one it was saved with"
	}
	return fmt.Sprintf("%s is not the one it was saved with: it was %q, and is %q", e.What, e.Was, e.Is)
}

// tolerance of measured rates, as a part of them.
const tolerance = 1000

// compare returns the first difference to the machine that is there now.
func (saved Machine) compare(now Machine) error {
	for _, f := range []struct {
		what    string
		was, is File
	}{{"QEMU", saved.QEMU, now.QEMU}, {"the kernel", saved.Kernel, now.Kernel}, {"the initrd", saved.Initrd, now.Initrd}} {
		if f.was.Digest != f.is.Digest {
			return &DifferentError{What: fmt.Sprintf("%s (%s)", f.what, f.is.Path)}
		}
	}
	if saved.Accelerator != now.Accelerator {
		return &DifferentError{"the accelerator", saved.Accelerator, now.Accelerator}
	}
	if !slices.Equal(saved.CPU, now.CPU) {
		return &DifferentError{What: "the host's processor"}
	}
	if was, is := saved.TSCKilohertz, now.TSCKilohertz; max(was, is)-min(was, is) > max(was, is)/tolerance {
		return &DifferentError{"the rate of the processor's counter", fmt.Sprint(was, " kHz"), fmt.Sprint(is, " kHz")}
	}
	for i := range max(len(saved.Shape), len(now.Shape)) {
		was, is := word(saved.Shape, i), word(now.Shape, i)
		if was != is {
			return &DifferentError{"the machine's layout", was, is}
		}
	}
	return nil
}

func word(words []string, i int) string {
	if i < len(words) {
		return words[i]
	}
	return "nothing"
}
