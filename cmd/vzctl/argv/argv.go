// Package argv rewrites a command line as people write it into one that urfave/cli reads: short flags may be joined ("-it", "-m512m"), flags may
// follow arguments ("rm name -f"), and for commands that run a program everything behind the first argument is left alone. It
// finds unknown flags and missing values; what a value means is left to the commands.
package argv

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// completion is what shells add behind a line that they want continued.
const completion = "--generate-bash-completion"

// Optional is a flag with a long name whose value may be left out.
type Optional interface {
	cli.Flag
	// Alone returns the value of a flag that has none behind "=". next is the word behind it, "" if there is none; taken says that it was the value.
	Alone(next string) (value string, taken bool)
}

// Arrange returns args, which begin with the program's name, with every flag in the form --name=value before the first argument
// and "--" between them. Commands of the app named in verbatim take flags only before their first argument. An error is
// about what the user wrote, and one line.
func Arrange(app *cli.App, args []string, verbatim ...string) ([]string, error) {
	if len(args) == 0 || args[len(args)-1] == completion {
		return args, nil
	}
	line := line{out: args[:1:1], rest: args[1:]}
	if err := line.flags(app.Name, app.Flags, true); err != nil {
		return nil, err
	}
	path, commands, interspersed := app.Name, app.Commands, true
	var command *cli.Command
	for len(line.rest) > 0 {
		next := find(commands, line.rest[0])
		if next == nil {
			break
		}
		command, commands = next, next.Subcommands
		path += " " + next.Name
		if slices.Contains(verbatim, path[len(app.Name)+1:]) {
			interspersed = false
		}
		line.out, line.rest = append(line.out, line.rest[0]), line.rest[1:]
		if len(commands) > 0 {
			if err := line.flags(path, command.Flags, true); err != nil {
				return nil, err
			}
		}
	}
	if command == nil || len(commands) > 0 {
		// No such command, a group alone, or the library's own help: it knows what to say.
		return append(line.out, line.rest...), nil
	}
	if err := line.flags(path, command.Flags, !interspersed); err != nil {
		return nil, err
	}
	if slices.Contains(line.out, "--"+cli.HelpFlag.Names()[0]) {
		return line.out, nil // with arguments the library looks for help on the first
	}
	return append(append(line.out, "--"), append(line.arguments, line.rest...)...), nil
}

func find(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// line is a command line in the middle of being rewritten.
type line struct {
	out       []string
	arguments []string // seen between flags
	rest      []string
}

// flags moves flags from rest to out: up to the first argument if stop, up to "--" otherwise.
func (l *line) flags(path string, known []cli.Flag, stop bool) error {
	known = append(slices.Clip(known), cli.HelpFlag)
	for len(l.rest) > 0 {
		word := l.rest[0]
		switch {
		case word == "--":
			l.rest = l.rest[1:]
			return nil
		case strings.HasPrefix(word, "--"):
			l.rest = l.rest[1:]
			if err := l.long(path, known, word[2:]); err != nil {
				return err
			}
		case len(word) > 1 && word[0] == '-':
			l.rest = l.rest[1:]
			if err := l.short(path, known, word[1:]); err != nil {
				return err
			}
		case stop:
			return nil
		default:
			l.arguments = append(l.arguments, word)
			l.rest = l.rest[1:]
		}
	}
	return nil
}

func (l *line) long(path string, known []cli.Flag, word string) error {
	name, value, given := strings.Cut(word, "=")
	f := lookup(known, name)
	if f == nil || len(name) == 1 {
		return unknown(path, "--"+name)
	}
	if optional, ok := f.(Optional); ok && !given {
		next := ""
		if len(l.rest) > 0 {
			next = l.rest[0]
		}
		value, taken := optional.Alone(next)
		if taken {
			l.rest = l.rest[1:]
		}
		l.out = append(l.out, "--"+f.Names()[0]+"="+value)
		return nil
	}
	if !given && !takesValue(f) {
		l.out = append(l.out, "--"+f.Names()[0])
		return nil
	}
	if !given {
		if len(l.rest) == 0 {
			return missing(path, "--"+name)
		}
		value, l.rest = l.rest[0], l.rest[1:]
	}
	l.out = append(l.out, "--"+f.Names()[0]+"="+value)
	return nil
}

// short takes letters apart. A letter that wants a value has the rest of the word, or the next word.
func (l *line) short(path string, known []cli.Flag, letters string) error {
	for i := 0; i < len(letters); i++ {
		f := lookup(known, letters[i:i+1])
		if f == nil {
			return unknown(path, "-"+letters)
		}
		rest := letters[i+1:]
		if !takesValue(f) {
			if value, ok := strings.CutPrefix(rest, "="); ok {
				l.out = append(l.out, "--"+f.Names()[0]+"="+value)
				return nil
			}
			l.out = append(l.out, "--"+f.Names()[0])
			continue
		}
		value := strings.TrimPrefix(rest, "=")
		if rest == "" {
			if len(l.rest) == 0 {
				return missing(path, "-"+letters[i:i+1])
			}
			value, l.rest = l.rest[0], l.rest[1:]
		}
		l.out = append(l.out, "--"+f.Names()[0]+"="+value)
		return nil
	}
	return nil
}

func lookup(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

func unknown(path, flag string) error {
	return fmt.Errorf("unknown flag %q; see \"%s --help\"", flag, path)
}

func missing(path, flag string) error {
	return fmt.Errorf("flag %q needs a value; see \"%s --help\"", flag, path)
}
