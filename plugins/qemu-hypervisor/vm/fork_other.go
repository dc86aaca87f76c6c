//go:build !linux

package vm

import (
	"context"
	"os"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/machine"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/standby"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// HoldArgument is of no use here.
const HoldArgument = "hold-vm"

// Hold fails.
func Hold() int { return 2 }

func canFork(hypervisor.Spec, machine.Host) bool { return false }

func standbyOf(dir string) standby.Place { return standby.At(dir) }

func (v *VM) standbyKey() (string, error) { return "", standby.ErrNone }

func (v *VM) fork(context.Context, string) (*process, error) { return nil, nil }

func (v *VM) standsBy(string) {}

func awaitExit(int) {}

// standbyFiles are of no use here.
type standbyFiles struct{}

func (*standbyFiles) give(func(*os.File) int) map[int]int { return nil }
