package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/core/engine"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/progress"
)

// What of files the fake is asked it notes, too.

func (f *fake) CopyFrom(_ context.Context, ref, source, destination string, o engine.CopyOptions, _ progress.Func) ([]string, error) {
	f.note("from %s %s %s follow=%v archive=%v", ref, source, destination, o.Follow, o.Archive)
	return []string{"\x1b was left out"}, f.filesErr
}

func (f *fake) CopyTo(_ context.Context, ref, source, destination string, o engine.CopyOptions, _ progress.Func) ([]string, error) {
	f.note("to %s %s %s follow=%v archive=%v", ref, source, destination, o.Follow, o.Archive)
	return nil, f.filesErr
}

func (f *fake) ReadTar(_ context.Context, ref, source string, _ engine.CopyOptions, to io.Writer, _ progress.Func) ([]string, error) {
	f.note("read %s %s", ref, source)
	_, err := io.WriteString(to, "tar")
	return nil, err
}

func (f *fake) WriteTar(_ context.Context, ref, destination string, from io.Reader, _ progress.Func) ([]string, error) {
	body, err := io.ReadAll(from)
	f.note("write %s %s %q", ref, destination, body)
	return nil, err
}

func (f *fake) Export(_ context.Context, ref string, to io.Writer, _ progress.Func) ([]string, error) {
	f.note("export %s", ref)
	_, err := io.WriteString(to, "root")
	if err == nil {
		err = f.filesErr
	}
	return nil, err
}

func (f *fake) Changes(_ context.Context, ref string) ([]engine.FileChange, error) {
	f.note("changes %s", ref)
	return []engine.FileChange{{Kind: "A", Path: "/a"}, {Kind: "D", Path: "/\x1b[2J"}}, f.filesErr
}

func (f *fake) Commit(_ context.Context, ref string, r engine.CommitRequest, _ progress.Func) (engine.Image, []string, error) {
	f.note("commit %s %s m=%s a=%s %q", ref, r.Reference, r.Message, r.Author, r.Changes)
	return engine.Image{ID: "sha256:1"}, nil, f.filesErr
}

func (f *fake) HoldFiles(_ context.Context, ref string, action engine.HoldAction) error {
	f.note("hold %s %s", ref, action)
	return f.filesErr
}

func TestFilesAskTheEngine(t *testing.T) {
	for _, test := range []struct {
		args                  []string
		calls, stdout, stderr string
		code                  int
	}{
		{[]string{"cp", "-aL", "web:/a", "b"}, "from web /a b follow=true archive=true", "", "vzctl: ? was left out\n", 0},
		{[]string{"cp", "./a:b", "web:c"}, "to web ./a:b c follow=false archive=false", "", "", 0},
		{[]string{"cp", "/a:b", "web:c"}, "to web /a:b c follow=false archive=false", "", "", 0},
		{[]string{"cp", "a/b:c", "web:c"}, "to web a/b:c c follow=false archive=false", "", "", 0},
		{[]string{"cp", "web:/a", "-"}, "read web /a", "tar", "", 0},
		{[]string{"cp", "-", "web:/a"}, `write web /a "typed"`, "", "", 0},
		{[]string{"cp", "a", "b"}, "", "", "vzctl: cp: neither \"a\" nor \"b\" is of a container; write CONTAINER:PATH\n", 125},
		{[]string{"cp", "x:a", "y:b"}, "", "", "vzctl: cp: both are of containers; use \"vzctl cp x:a - | vzctl cp - y:b\"\n", 125},
		{[]string{"cp", "x:", "b"}, "", "", "vzctl: cp: a path is missing\n", 125},
		{[]string{"export", "web"}, "export web", "root", "", 0},
		{[]string{"diff", "web"}, "changes web", "A /a\nD /?[2J\n", "", 0},
		{[]string{"commit", "-m", "why", "-a", "me", "-c", "CMD a,b", "-c", "USER x", "web", "img:1"}, `commit web img:1 m=why a=me ["CMD a,b" "USER x"]`, "sha256:1\n", "", 0},
		{[]string{"fs", "freeze", "web", "db"}, "hold web HOLD_ACTION_FREEZE, hold db HOLD_ACTION_FREEZE", "web\ndb\n", "", 0},
		{[]string{"fs", "thaw", "web"}, "hold web HOLD_ACTION_THAW", "web\n", "", 0},
		{[]string{"fs", "trim", "web"}, "hold web HOLD_ACTION_TRIM", "web\n", "", 0},
	} {
		t.Run(fmt.Sprint(test.args), func(t *testing.T) {
			f := &fake{}
			d := newDesk(f)
			d.Stdin = strings.NewReader("typed")
			d.wants(t, d.run(t, test.args...), test.code, test.stdout, test.stderr)
			if f.noted() != test.calls {
				t.Errorf("calls %s; want %s", f.noted(), test.calls)
			}
		})
	}
}

func TestAnExportThatFailsLeavesTheFileThatWasThere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "root.tar")
	for _, err := range []error{nil, &fault.Error{Reason: fault.Internal, Op: "export"}} {
		f := &fake{filesErr: err}
		want := "root"
		if err != nil {
			want = "before"
			if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		code := newDesk(f).run(t, "export", "-o", file, "web")
		content, readErr := os.ReadFile(file)
		names, listErr := os.ReadDir(filepath.Dir(file))
		if (code == 0) != (err == nil) || string(content) != want || len(names) != 1 || readErr != nil || listErr != nil {
			t.Errorf("exit code %d, content %q, %d files", code, content, len(names))
		}
	}
}
