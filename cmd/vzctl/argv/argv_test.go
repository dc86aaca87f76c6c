package argv

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func testApp() *cli.App {
	return &cli.App{
		Name:  "app",
		Flags: []cli.Flag{&cli.StringFlag{Name: "root"}, &cli.BoolFlag{Name: "debug", Aliases: []string{"D"}}},
		Commands: []*cli.Command{
			{Name: "run", Flags: []cli.Flag{
				&cli.BoolFlag{Name: "interactive", Aliases: []string{"i"}},
				&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}},
				&cli.StringFlag{Name: "memory", Aliases: []string{"m"}},
				&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}},
				report{&cli.StringFlag{Name: "report"}},
			}},
			{Name: "rm", Aliases: []string{"delete"}, Flags: []cli.Flag{&cli.BoolFlag{Name: "force", Aliases: []string{"f"}}}},
			{Name: "image", Subcommands: []*cli.Command{
				{Name: "ls", Flags: []cli.Flag{&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}}}},
			}},
		},
	}
}

// report takes a file of its own kind, or none.
type report struct{ *cli.StringFlag }

func (report) Alone(next string) (string, bool) {
	if strings.HasSuffix(next, ".txt") {
		return next, true
	}
	return "-", false
}

func TestArrange(t *testing.T) {
	for _, test := range []struct{ name, line, want string }{
		{"no words", "", ""},
		{"global flags come before the command", "--root /r -D rm x", "--root=/r --debug rm -- x"},
		{"a command alone", "rm", "rm --"},
		{"an alias stays", "delete x", "delete -- x"},
		{"joined letters are taken apart", "run -it image", "run --interactive --tty -- image"},
		{"the last of joined letters may want a value", "run -itm 1g image", "run --interactive --tty --memory=1g -- image"},
		{"a value may be joined to its letter", "run -m512m -eA=1 image", "run --memory=512m --env=A=1 -- image"},
		{"a value behind = of a letter", "run -m=512m image", "run --memory=512m -- image"},
		{"a bool may be said", "run -i=false --tty=false image", "run --interactive=false --tty=false -- image"},
		{"two names of one flag are one flag", "run -e A=1 --env B=2 image", "run --env=A=1 --env=B=2 -- image"},
		{"a value may look like a flag", "run -e -it image", "run --env=-it -- image"},
		{"a value that may be left out", "run --report image", "run --report=- -- image"},
		{"is taken if it is one", "run --report a.txt image b.txt", "run --report=a.txt -- image b.txt"},
		{"and always behind =", "run --report=image image", "run --report=image -- image"},
		{"and is none at the end", "run --report", "run --report=- --"},
		{"all behind the image is the command's", "run image -it --env x -- -m", "run -- image -it --env x -- -m"},
		{"a command of the container may be named like ours", "run -i image rm -f", "run --interactive -- image rm -f"},
		{"-- ends flags", "run -i -- -image -t", "run --interactive -- -image -t"},
		{"other commands take flags behind arguments", "rm a -f b", "rm --force -- a b"},
		{"and -- ends them too", "rm a -- -f", "rm -- a -f"},
		{"a lone dash is an argument", "rm -", "rm -- -"},
		{"subcommands", "image ls -q", "image ls --quiet --"},
		{"a group alone", "image", "image"},
		{"help of a group", "image --help", "image --help"},
		{"help behind arguments", "rm a --help", "rm --help"},
		{"help of a command's own command is not ours", "run image --help", "run -- image --help"},
		{"a command that is not there is left to the library", "nope -x", "nope -x"},
		{"completion sees the line as it is", "run -i --generate-bash-completion", "run -i --generate-bash-completion"},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := append([]string{"app"}, strings.Fields(test.line)...)
			got, err := Arrange(testApp(), args, "run")
			if want := append([]string{"app"}, strings.Fields(test.want)...); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
		})
	}
}

func TestArrangeRefuses(t *testing.T) {
	for _, test := range []struct{ name, line, want string }{
		{"an unknown flag", "run --nope image", `unknown flag "--nope"; see "app run --help"`},
		{"an unknown letter among known ones", "run -itx image", `unknown flag "-itx"; see "app run --help"`},
		{"a flag of the program behind the command", "rm --root /r", `unknown flag "--root"; see "app rm --help"`},
		{"a letter with two dashes", "run --i image", `unknown flag "--i"; see "app run --help"`},
		{"a flag whose value is missing", "run --memory", `flag "--memory" needs a value; see "app run --help"`},
		{"a letter whose value is missing", "run -im", `flag "-m" needs a value; see "app run --help"`},
		{"an unknown flag of a subcommand", "image ls -z", `unknown flag "-z"; see "app image ls --help"`},
		{"an unknown global flag", "--nope rm", `unknown flag "--nope"; see "app --help"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Arrange(testApp(), append([]string{"app"}, strings.Fields(test.line)...), "run")
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v; want %s", err, test.want)
			}
		})
	}
}

// Whatever is written, the words behind the image arrive as they are.
func FuzzArrange(f *testing.F) {
	f.Add("-it\x00image\x00-x", "sh\x00-c\x00exit")
	f.Fuzz(func(t *testing.T, before, after string) {
		args := append([]string{"app", "run"}, strings.Split(before, "\x00")...)
		args = append(append(args, "--", "image"), strings.Split(after, "\x00")...)
		got, err := Arrange(testApp(), args, "run")
		if err != nil || slices.Contains(got, "--help") {
			return
		}
		tail := strings.Split(after, "\x00")
		if tail[len(tail)-1] == completion {
			return
		}
		if len(got) < len(tail) || !reflect.DeepEqual(got[len(got)-len(tail):], tail) {
			t.Errorf("%q became %q", args, got)
		}
	})
}
