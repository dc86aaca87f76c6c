package vm

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/machine"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// findBinary returns the path of the QEMU for an architecture.
func findBinary(arch string) (string, error) {
	name, install := machine.Binary(arch)
	path, err := exec.LookPath(name)
	if err != nil {
		return "", &fault.Error{Reason: fault.Unavailable, Op: "create the VM", Cause: fmt.Errorf("%s not found", name), Hint: "install it with: " + install}
	}
	return path, nil
}

// checkFiles looks at what the spec names, so that a mistake is a clear error of Create and not one of QEMU later.
func checkFiles(s hypervisor.Spec) error {
	if err := checkDirectory(s.RuntimeDir); err != nil {
		return badFile("runtime directory", s.RuntimeDir, err)
	}
	if err := checkKernel(s.Kernel.Path, s.Kernel.Format); err != nil {
		return badFile("kernel", s.Kernel.Path, err)
	}
	if s.InitrdPath != "" {
		if err := checkReadable(s.InitrdPath); err != nil {
			return badFile("initrd", s.InitrdPath, err)
		}
	}
	for _, disk := range s.Disks {
		mode := os.O_RDWR
		if disk.ReadOnly {
			mode = os.O_RDONLY
		}
		if err := checkRegular(disk.File.Path, mode, func(*os.File) error { return nil }); err != nil {
			return badFile("disk "+disk.Serial, disk.File.Path, err)
		}
	}
	for _, share := range s.Shares {
		if err := checkShare(share); err != nil {
			return badFile("share", share.Path, err)
		}
	}
	return nil
}

func badFile(what, path string, err error) error {
	reason := fault.Invalid
	switch {
	case errors.Is(err, os.ErrNotExist):
		reason, err = fault.NotFound, errors.New("no such file or directory")
	case errors.Is(err, os.ErrPermission):
		reason, err = fault.PermissionDenied, errors.New("permission denied")
	}
	return &fault.Error{Reason: reason, Op: "use " + what, Subject: path, Cause: err}
}

// checkDirectory wants a directory in which nobody else can reach the VM's sockets.
func checkDirectory(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return errors.New("not a directory")
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("it is open to others (mode %o, should be 700)", mode)
	}
	return nil
}

func checkReadable(path string) error {
	return checkRegular(path, os.O_RDONLY, func(*os.File) error { return nil })
}

func checkRegular(path string, mode int, look func(*os.File) error) error {
	info, err := os.Stat(path) // before opening, which waits on a FIFO
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	file, err := os.OpenFile(path, mode, 0)
	if err != nil {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner // the path is named already
		}
		return err
	}
	defer func() { _ = file.Close() }()
	return look(file)
}

// checkKernel wants a file that is what its format says.
func checkKernel(path, format string) error {
	return checkRegular(path, os.O_RDONLY, func(file *os.File) error {
		switch format {
		case "elf-pvh":
			return checkPVH(file)
		case "bzimage":
			return checkMagic(file, 0x202, "HdrS", "a Linux bzImage")
		default:
			return checkMagic(file, 56, "ARM\x64", "a Linux Image for arm64")
		}
	})
}

func checkMagic(file io.ReaderAt, offset int64, magic, what string) error {
	got := make([]byte, len(magic))
	if _, err := file.ReadAt(got, offset); err != nil || !bytes.Equal(got, []byte(magic)) {
		return fmt.Errorf("not a kernel: it is not %s", what)
	}
	return nil
}

// checkPVH looks for the note that tells a hypervisor where to enter the kernel.
func checkPVH(file io.ReaderAt) error {
	const entryNote = "\x04\x00\x00\x00\x08\x00\x00\x00\x12\x00\x00\x00Xen\x00" // or a length of 4
	const shortNote = "\x04\x00\x00\x00\x04\x00\x00\x00\x12\x00\x00\x00Xen\x00"
	image, err := elf.NewFile(file)
	if err != nil || image.Machine != elf.EM_X86_64 {
		return errors.New("not a kernel: it is not an ELF file for x86_64")
	}
	for _, segment := range image.Progs {
		if segment.Type != elf.PT_NOTE || segment.Filesz > 1<<20 {
			continue
		}
		notes := make([]byte, segment.Filesz)
		if _, err := segment.ReadAt(notes, 0); err != nil {
			continue
		}
		if bytes.Contains(notes, []byte(entryNote)) || bytes.Contains(notes, []byte(shortNote)) {
			return nil
		}
	}
	return errors.New("not a kernel that can be entered by PVH: it was built without CONFIG_PVH")
}
