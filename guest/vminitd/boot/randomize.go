package boot

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// randomizeWord of the kernel's command line asks for code to be placed at random once per boot, not once per process. See kernel/README.md.
const randomizeWord = "vzctl.randomize=boot"

const randomizeFile = "/proc/sys/kernel/randomize_va_space"

// PlaceCode has our kernel do so, if the host wants it; to another kernel it is what it does by itself. The place is drawn when the next program is executed, and kept: what machines are copied from before has been drawn by each for itself.
func PlaceCode() error {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil || !slices.Contains(strings.Fields(string(line)), randomizeWord) {
		return err
	}
	// Random numbers that can be foretold would be kept.
	if _, err := unix.Getrandom(make([]byte, 1), 0); err != nil {
		return fmt.Errorf("await random numbers: %w", err)
	}
	if err := os.WriteFile(randomizeFile, []byte(codeOncePerBoot), 0); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil // as it is built
}

const codeOncePerBoot = "3"

// CodeStays says whether a program is where it was when it is executed again.
func CodeStays() bool {
	text, err := os.ReadFile(randomizeFile)
	return err == nil && strings.TrimSpace(string(text)) == codeOncePerBoot
}
