//go:build linux

// Command liar is the first process of a VM, in vminitd's place: what an enemy can make of one who has taken the guest over. It greets the host as vminitd does, waits
// until that calls its agent, and then says what the variable mode wants. After that it powers off.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"

	"github.com/vzctl/vzctl/core/agent"
	"github.com/vzctl/vzctl/guest/serialmux"
	"github.com/vzctl/vzctl/guest/vminitd/boot"
	"github.com/vzctl/vzctl/guest/vminitd/power"
)

// mode is set by the build (-X main.mode=).
var mode = "noise"

// much is more than a host may keep of it, in bytes.
const much = 256 << 20

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "liar: this is the first process of a VM and does nothing elsewhere")
		os.Exit(2)
	}
	if err := lie(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "liar:", err) // the console
	}
	power.Off()
}

func lie(ctx context.Context) error {
	if err := boot.Setup(); err != nil {
		return err
	}
	var port io.Writer
	open := serialmux.OpenPort(serialmux.PortName)
	guest := serialmux.NewGuest(func(ctx context.Context) (io.ReadWriteCloser, error) {
		p, err := open(ctx)
		port = p
		return p, err
	})
	control, err := guest.Listen(agent.AgentPort)
	if err != nil {
		return err
	}
	go guest.Serve(ctx)
	conn, err := control.Accept()
	if err != nil {
		return err
	}
	switch mode {
	case "noise": // in the place of frames
		_, err = io.CopyN(port, rand.NewChaCha8([32]byte{}), much)
	case "answers": // in the place of HTTP/2, within frames that are right
		_, err = io.CopyN(conn, rand.NewChaCha8([32]byte{}), much)
	case "leaves":
	default:
		err = errors.New("there is no such mode")
	}
	return err
}
