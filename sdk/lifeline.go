package sdk

import (
	"fmt"
	"os"
	"strconv"
	"syscall"

	"github.com/vzctl/vzctl/sdk/internal/wire"
)

// openLifeline returns the pipe that the host announced, or nil if it announced none. The plugin's own children do not inherit it.
func openLifeline() (*os.File, error) {
	text, ok := os.LookupEnv(wire.LifelineFD)
	if !ok {
		return nil, nil
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("%s=%q is no inherited descriptor", wire.LifelineFD, text)
	}
	var stat syscall.Stat_t
	if err := syscall.Fstat(fd, &stat); err != nil {
		return nil, fmt.Errorf("%s=%q: %w", wire.LifelineFD, text, err)
	}
	syscall.CloseOnExec(fd)
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("%s=%q: %w", wire.LifelineFD, text, err)
	}
	return os.NewFile(uintptr(fd), "lifeline"), nil
}
