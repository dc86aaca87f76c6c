package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
	"github.com/vzctl/vzctl/core/timeline"
	"github.com/vzctl/vzctl/sdk/fault"
)

// removeTimeout bounds taking back a container that never ran, also after Ctrl-C.
const removeTimeout = 30 * time.Second

// reasonCheckpointed is that of a container which can be restored, and is not removed before.
const reasonCheckpointed = "checkpointed"

func newRun(p *program) *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "create a container and run it",
		ArgsUsage: "IMAGE [COMMAND [ARG...]]",
		Description: "Runs the image's command, or COMMAND, in a new VM. Everything behind IMAGE belongs to the command.\n" +
			"In the foreground the exit code is the process's own, 128 and the signal's number if one ended it, 125 if vzctl failed, 126 if the command " +
			"cannot be executed and 127 if there is none. SIGINT, SIGTERM and other signals go to the process; the third kills it. If the terminal is closed, the process gets SIGHUP and two seconds to end. Ctrl-P Ctrl-Q leaves a container with a terminal running, as any signal does with --sig-proxy=false. With -d the id is printed and the container goes on.",
		Flags: append(append(createFlags(), foregroundFlags()...),
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "print the id and leave the container running"},
			newTimelineFlag(),
		),
		Action: func(c *cli.Context) error {
			request, err := p.createRequest(c)
			if err != nil {
				return err
			}
			request.StartNext = true
			timing, err := p.newTiming(c)
			if err != nil {
				return err
			}
			defer timing.close()
			api, done, err := p.open(c)
			if err != nil {
				return err
			}
			defer done()
			if c.Bool("detach") {
				return p.runDetached(c, api, request, timing)
			}
			return p.runForeground(c, api, request, timing)
		},
	}
}

func (p *program) runDetached(c *cli.Context, api engine.API, request engine.CreateRequest, timing *timing) error {
	container, err := p.create(c, api, request)
	if err != nil {
		return err
	}
	started, err := api.Start(c.Context, container.ID)
	if err != nil {
		return p.takeBack(c, api, container.ID, err)
	}
	timing.report(request.Image, started)
	return printLine(c, container.ID)
}

func (p *program) runForeground(c *cli.Context, api engine.API, request engine.CreateRequest, timing *timing) error {
	// First, as it fails without a container if there is no terminal.
	f, err := p.newForeground(c, request.Terminal, request.StdinOpen)
	if err != nil {
		return err
	}
	defer f.end()
	container, err := p.create(c, api, request)
	if err != nil {
		return err
	}
	exit, started, err := f.attach(c.Context, api, container.ID, api.AttachStart)
	if f.left(err, reattach(container.Name)) {
		return nil
	}
	if err != nil && (started.ID == "" || c.Context.Err() != nil && f.proxy) {
		return p.takeBack(c, api, container.ID, err)
	}
	if err != nil && f.sink.failure() == nil {
		return err
	}
	timing.ended(started, exit)
	if request.AutoRemove && exit.Reason != reasonCheckpointed && !exit.Kept {
		// The engine does it too; when run returns, it has happened.
		end := timeline.Begin(c.Context, "remove", "")
		if err := remove(c.Context, api, container.ID); err != nil {
			p.complain(err)
		}
		end()
	}
	timing.report(request.Image, started)
	return f.ended(exit)
}

// create makes a container, with progress on the terminal, and writes its id to --cidfile.
func (p *program) create(c *cli.Context, api engine.API, request engine.CreateRequest) (engine.Container, error) {
	var file *os.File
	if path := c.String("cidfile"); path != "" {
		var err error
		if file, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644); err != nil {
			return engine.Container{}, usage("--cidfile: %w", err)
		}
	}
	report, done := p.progress()
	end := timeline.Begin(c.Context, timeline.Create, "")
	container, err := api.Create(c.Context, request, report)
	end()
	done()
	if file == nil {
		return container, err
	}
	if err != nil {
		return container, errors.Join(err, file.Close(), os.Remove(file.Name()))
	}
	_, err = file.WriteString(container.ID)
	if err = errors.Join(err, file.Close()); err != nil {
		return container, p.takeBack(c, api, container.ID, err)
	}
	return container, nil
}

// takeBack removes a container that never ran, so that a failed run leaves nothing behind.
func (p *program) takeBack(c *cli.Context, api engine.API, id string, because error) error {
	if path := c.String("cidfile"); path != "" {
		_ = os.Remove(path)
	}
	return errors.Join(because, remove(c.Context, api, id))
}

// remove works after Ctrl-C too, and does not mind if there is nothing to remove.
func remove(ctx context.Context, api engine.API, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	if err := api.Remove(ctx, id, true); !errors.Is(err, fault.NotFound) {
		return err
	}
	return nil
}

func printLine(c *cli.Context, text string) error {
	_, err := fmt.Fprintln(c.App.Writer, text)
	return err
}
