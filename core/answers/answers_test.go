package answers

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAnAnswerIsGoodWhileNothingItDependsOnChanges(t *testing.T) {
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name   string
		change func(t *testing.T, file, missing string)
		good   bool
	}{
		{"nothing", func(*testing.T, string, string) {}, true},
		{"read", func(t *testing.T, file, _ string) { _, err := os.ReadFile(file); must(t, err) }, true},
		{"written", func(t *testing.T, file, _ string) { write(t, file, "other") }, false},
		{"written with the time set back", func(t *testing.T, file, _ string) {
			info, err := os.Stat(file)
			must(t, err)
			write(t, file, "ninth")
			must(t, os.Chtimes(file, info.ModTime(), info.ModTime()))
		}, false},
		{"replaced", func(t *testing.T, file, _ string) {
			write(t, file+".new", "first")
			must(t, os.Rename(file+".new", file))
		}, false},
		{"mode", func(t *testing.T, file, _ string) { must(t, os.Chmod(file, 0o644)) }, false},
		{"removed", func(t *testing.T, file, _ string) { must(t, os.Remove(file)) }, false},
		{"appeared", func(t *testing.T, _, missing string) { write(t, missing, "new") }, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			file, missing := filepath.Join(dir, "file"), filepath.Join(dir, "no", "such")
			must(t, os.Mkdir(filepath.Dir(missing), 0o700))
			write(t, file, "first")
			files, err := Look(file, missing)
			must(t, err)
			book := Book{Dir: filepath.Join(dir, "answers")}
			must(t, book.Put(map[string]int{"n": 7}, files, "what", "is"))
			time.Sleep(20 * time.Millisecond) // a tick of the file system's clock, or "changed" is the same time
			test.change(t, file, missing)
			var answer map[string]int
			if good := book.Get(&answer, "what", "is"); good != test.good || good && answer["n"] != 7 {
				t.Errorf("good %v, answer %v", good, answer)
			}
		})
	}
}

func TestQuestionsAreNotMistakenForEachOther(t *testing.T) {
	book := Book{Dir: t.TempDir()}
	if err := book.Put("yes", nil, "a", "b"); err != nil {
		t.Fatal(err)
	}
	var answer string
	for _, question := range [][]string{{"a"}, {"a", "b", ""}, {"b", "a"}, {"a\x00b"}, {}} {
		if book.Get(&answer, question...) {
			t.Errorf("%q has an answer", question)
		}
	}
}

func TestADamagedAnswerIsNone(t *testing.T) {
	book := Book{Dir: t.TempDir()}
	if err := book.Put("yes", nil, "q"); err != nil {
		t.Fatal(err)
	}
	for _, damage := range []string{"", "{", `{"question":["q"],"answer":7}`} {
		write(t, book.path([]string{"q"}), damage)
		var answer string
		if book.Get(&answer, "q") {
			t.Errorf("%q is an answer", damage)
		}
	}
}

func TestAnAnswerThatIsForgottenIsNone(t *testing.T) {
	book := Book{Dir: t.TempDir()}
	if err := book.Put("yes", nil, "q"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := book.Forget("q"); err != nil {
			t.Error(err)
		}
		var answer string
		if book.Get(&answer, "q") {
			t.Error("it is known")
		}
	}
}

func TestTheOldestAnswersGo(t *testing.T) {
	book := Book{Dir: t.TempDir()}
	for i := range most + 1 {
		question := fmt.Sprint(i)
		if err := book.Put(i, nil, question); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(int64(i), 0)
		if err := os.Chtimes(book.path([]string{question}), at, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := book.Put("last", nil, "last"); err != nil {
		t.Fatal(err)
	}
	var n int
	var last string
	if book.Get(&n, "0") || !book.Get(&n, fmt.Sprint(most)) || !book.Get(&last, "last") {
		t.Error("not the oldest went")
	}
}

func TestWhatHasJustChangedIsNotSettled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "x")
	files, err := Look(path, path+"-missing")
	if err != nil {
		t.Fatal(err)
	}
	if Settled(files, time.Now()) || !Settled(files, time.Now().Add(time.Minute)) {
		t.Error("not told by the last change")
	}
}
