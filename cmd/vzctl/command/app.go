// Package command is the command line of vzctl: one command per file, each parsing its words, asking core/engine, and printing.
// What the commands share is here: [Run] and the list of commands in app.go, how a command ends in exit.go, interrupt.go and printing in
// table.go; how a foreground process meets the terminal is in foreground.go.
package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/cmd/vzctl/argv"
	"github.com/vzctl/vzctl/core/engine"
)

// Host is the world around a command line. All fields are needed.
type Host struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	LookupEnv      func(name string) (string, bool)
	Now            func() time.Time
	Version        string
	// Signals are those that ask a program to end.
	Signals <-chan os.Signal
	// Exit ends the program at once, when the user insists.
	Exit func(code int)
	Open func(ctx context.Context, options engine.Options) (engine.API, error)
	// Verify runs the conformance suite against a plugin and calls report for each case.
	Verify func(ctx context.Context, path string, fixtures Fixtures, report func(Case)) error
}

// program is one run of the command line.
type program struct {
	Host
	interrupt *interrupt
	log       hclog.Logger
	debug     bool
	printed   sink
	json      atomic.Bool // messages are JSON; insist may ask at any moment
}

// Run does what args, beginning with the program's name, say, and returns the exit code. It returns when nothing that it began goes on.
func Run(ctx context.Context, host Host, args []string) int {
	ctx, cancel := context.WithCancelCause(ctx)
	p := &program{Host: host, log: hclog.NewNullLogger(), printed: sink{gone: func() {}}}
	p.interrupt = watch(host.Signals, cancel, p.insist)
	defer p.interrupt.close()
	defer cancel(nil)

	app := p.app()
	arranged, err := argv.Arrange(app, args, "run", "create", "exec", "top")
	if err == nil {
		err = app.RunContext(ctx, arranged)
	}
	if err == nil {
		err = p.printed.ended()
	}
	return p.finish(ctx, err)
}

func (p *program) app() *cli.App {
	return &cli.App{
		Name:                 "vzctl",
		Usage:                "run every Linux container in its own lightweight virtual machine",
		Version:              p.Version,
		HideVersion:          true,
		EnableBashCompletion: true,
		Reader:               p.Stdin,
		Writer:               stream{&p.printed, p.Stdout},
		ErrWriter:            p.Stderr,
		// Values like "A=1,2" are one value.
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {}, // exit codes are finish's
		OnUsageError:              usageError,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "root", EnvVars: []string{"VZCTL_ROOT"}, Usage: "`DIR` of all that lasts"},
			&cli.BoolFlag{Name: "debug", Aliases: []string{"D"}, Usage: "say on stderr what is being done"},
			&cli.StringFlag{Name: "log-format", Value: "text", Usage: "of messages on stderr: `text` or json"},
			&cli.BoolFlag{Name: "version", Aliases: []string{"v"}, Usage: "print the version", DisableDefaultText: true},
		},
		Before: p.before,
		Action: func(c *cli.Context) error {
			if c.Bool("version") {
				return p.printVersion(c, "table")
			}
			return group(c)
		},
		Commands: p.commands(),
	}
}

// commands lists them all, in the order of the manual.
func (p *program) commands() []*cli.Command {
	commands := []*cli.Command{
		newRun(p),
		newCreate(p),
		newStart(p),
		newStop(p),
		newRestart(p),
		newKill(p),
		newPause(p),
		newUnpause(p),
		newUpdate(p),
		newRename(p),
		newCheckpoint(p),
		newRestore(p),
		newRm(p),
		newPrune(p),
		newLs(p),
		newLogs(p),
		newEvents(p),
		newStats(p),
		newTop(p),
		newInspect(p),
		newExec(p),
		newCp(p),
		newExport(p),
		newDiff(p),
		newCommit(p),
		newFs(p),
		newWait(p),
		newHealthcheck(p),
		newAttach(p),
		newImage(p),
		newRootfs(p),
		newVolume(p),
		newNetwork(p),
		newKernel(p),
		newPlugin(p),
		newSystem(p),
		newDoctor(p),
		newVersion(p),
		newCompletion(p),
		newDocs(p),
		hidden(newImagePull(p), "pull"),
		hidden(newImageLs(p), "images"),
		hidden(newImageRm(p), "rmi"),
	}
	p.prepare(commands)
	return commands
}

// hidden gives a command of a group a second, Docker's, name.
func hidden(c *cli.Command, name string) *cli.Command {
	c.Name, c.Aliases, c.Hidden = name, nil, true
	return c
}

// prepare sets what holds for every command: the library adds a "help" command to each, which would take the place of an image or a container
// of that name.
func (p *program) prepare(commands []*cli.Command) {
	for _, c := range commands {
		c.HideHelpCommand = true
		c.OnUsageError = usageError
		for _, f := range c.Flags {
			if b, ok := f.(*cli.BoolFlag); ok {
				b.DisableDefaultText = !b.Value // "(default: false)" says nothing
			}
			if s, ok := f.(*cli.StringSliceFlag); ok {
				s.KeepSpace = true // it may be part of a value
			}
		}
		if len(c.Subcommands) > 0 {
			c.Action = group
			p.prepare(c.Subcommands)
		} else {
			c.BashComplete = p.complete(c)
			c.Before = func(*cli.Context) error {
				// They are parsed. To call the actions of those that are set the library compares each with each: 1.3 ms of a run, where none has an action.
				c.Flags = slices.DeleteFunc(slices.Clone(c.Flags), func(f cli.Flag) bool { s, ok := f.(*cli.StringFlag); return !ok || s.Action == nil })
				return nil
			}
		}
	}
}

// group is what a command with subcommands does without one.
func group(c *cli.Context) error {
	if c.Args().Present() {
		return usage("no command %q; see \"%s --help\"", c.Args().First(), c.Command.HelpName)
	}
	if c.Command.HelpName == c.App.HelpName {
		return cli.ShowAppHelp(c)
	}
	return cli.ShowSubcommandHelp(c)
}

func (p *program) before(c *cli.Context) error {
	switch format := c.String("log-format"); format {
	case "text":
	case "json":
		p.json.Store(true)
	default:
		return usage("--log-format %q: use text or json", format)
	}
	p.debug = c.Bool("debug")
	level := hclog.Off // an error is said once, by finish
	if p.debug {
		level = hclog.Debug
	}
	p.log = hclog.New(&hclog.LoggerOptions{Name: "vzctl", Level: level, Output: p.Stderr, JSONFormat: p.json.Load()})
	return nil
}

// open connects to the engine. Commands that need none start without it.
func (p *program) open(c *cli.Context) (engine.API, func(), error) {
	api, err := p.Open(c.Context, engine.Options{Root: c.String("root"), Version: p.Version, Log: p.log})
	if err != nil {
		return nil, nil, err
	}
	return api, func() {
		if closer, ok := api.(io.Closer); ok {
			_ = closer.Close()
		}
	}, nil
}

// withEngine makes an action of a function that needs the engine.
func (p *program) withEngine(do func(c *cli.Context, api engine.API) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		api, done, err := p.open(c)
		if err != nil {
			return err
		}
		defer done()
		return do(c, api)
	}
}

// arguments checks how many there are; most < 0 means any number.
func arguments(c *cli.Context, least, most int, what string) error {
	switch n := c.NArg(); {
	case n < least:
		return usage("%s: %s is missing; see \"%s --help\"", c.Command.Name, what, c.Command.HelpName)
	case most >= 0 && n > most:
		return usage("%s: %q is too much; see \"%s --help\"", c.Command.Name, c.Args().Get(most), c.Command.HelpName)
	}
	return nil
}

func usageError(_ *cli.Context, err error, _ bool) error { return &usageFault{err} }

func usage(format string, args ...any) error { return &usageFault{fmt.Errorf(format, args...)} }
