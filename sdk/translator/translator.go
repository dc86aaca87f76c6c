// Package translator is the contract of the translator kind. The comments in sdk/proto/vzctl/translator/v1/translator.proto are part of it.
package translator

import "context"

// Translator is implemented by a plugin and by its client.
type Translator interface {
	Plan(ctx context.Context, guestArch, programArch string) (Plan, error)
}

// Keys and values of Info.Capabilities of this kind.
const (
	CapabilityPair = "pair" // values: "<guest arch>:<program arch>"
)

// Plan is exactly one of Share, File and Rosetta, and how the guest's kernel is told.
type Plan struct {
	Share   *Share
	File    *File
	Rosetta *Rosetta
	Binfmt  Binfmt
}

// Share is a host directory that holds the interpreter.
type Share struct{ HostPath, Interpreter string }

// File is a static interpreter on the host.
type File struct{ HostPath string }

// Rosetta comes from the hypervisor.
type Rosetta struct{}

// Binfmt is a registration with binfmt_misc.
type Binfmt struct {
	Name   string
	Offset uint32
	Magic  []byte
	Mask   []byte
	Flags  string
}
