package vm

import (
	"errors"
	"os"

	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// sharedMemory and enclose are of Linux: elsewhere there is no virtiofsd, and Create refuses a share by one.

func sharedMemory(uint64) (*os.File, error) { return nil, errors.ErrUnsupported }

func enclose(hypervisor.Share, string) error { return errors.ErrUnsupported }
