package stdio

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

func TestTheRestOfOutputs(t *testing.T) {
	type written struct {
		text string
		open bool // for others who may write
	}
	much := strings.Repeat("x", bufferSize)
	for name, test := range map[string]struct {
		outputs [2]written
		all     bool
	}{
		"nothing":                                {[2]written{}, true},
		"something":                              {[2]written{{"hello", false}, {"world", false}}, true},
		"others have one":                        {[2]written{{"hello", true}, {"world", false}}, false},
		"others have the other":                  {[2]written{{"hello", false}, {"world", true}}, false},
		"nothing, and others have one":           {[2]written{{"", false}, {"", true}}, false},
		"more of one than is told at once":       {[2]written{{much, false}, {"world", false}}, false},
		"more of the other than is told at once": {[2]written{{"hello", false}, {much, false}}, false},
		"of one as much as can be told":          {[2]written{{much[1:], false}, {"world", false}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var outputs []*Output
			var fars []*os.File
			for _, w := range test.outputs {
				near, far, err := pipe(false)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := far.WriteString(w.text); err != nil {
					t.Fatal(err)
				}
				if !w.open {
					if err := far.Close(); err != nil {
						t.Fatal(err)
					}
				}
				o := NewOutput(near)
				defer o.Close()
				outputs, fars = append(outputs, o), append(fars, far)
			}
			rests, all := Rest(outputs...)
			if all != test.all {
				t.Fatalf("all: %v", all)
			}
			for i, o := range outputs {
				want := test.outputs[i].text
				guest, host := connection(t)
				if all {
					if string(rests[i]) != want {
						t.Errorf("of output %d were told %d bytes, not %d", i, len(rests[i]), len(want))
					}
					if err := o.Claim(guest); !errors.Is(err, ErrClosed) {
						t.Errorf("a connection for what was told: %v", err)
					}
					continue
				}
				if test.outputs[i].open {
					if err := fars[i].Close(); err != nil {
						t.Fatal(err)
					}
				}
				serve(t, o, guest)
				if got, err := io.ReadAll(host); string(got) != want || err != nil {
					t.Errorf("a connection gets %d bytes of output %d instead of %d, %v", len(got), i, len(want), err)
				}
			}
			if _, again := Rest(outputs...); again {
				t.Error("it is told twice")
			}
		})
	}
}

func TestWhatAConnectionHasHadIsNotTold(t *testing.T) {
	for name, loses := range map[string]bool{"and has": false, "and has lost": true} {
		t.Run(name, func(t *testing.T) {
			p := pipes(t)
			guest, host := connection(t)
			done := serve(t, p.Stderr, guest)
			if loses {
				_ = guest.SetReadDeadline(past) // as a lost session makes reads fail
				<-done
			}
			for i, text := range []string{"hello", "world"} {
				if _, err := p.Far()[i+1].WriteString(text); err != nil {
					t.Fatal(err)
				}
			}
			if rests, all := Rest(p.Stdout, p.Stderr); all {
				t.Errorf("told were %q", rests)
			}
			p.CloseFar()
			if rests, all := Rest(p.Stdout, p.Stderr); all {
				t.Errorf("told were %q", rests)
			}
			if loses {
				guest, host = connection(t)
				serve(t, p.Stderr, guest)
			}
			if got, err := io.ReadAll(host); string(got) != "world" || err != nil {
				t.Errorf("the connection gets %q, %v", got, err)
			}
			guest, host = connection(t)
			serve(t, p.Stdout, guest)
			if got, err := io.ReadAll(host); string(got) != "hello" || err != nil {
				t.Errorf("one for the other output gets %q, %v", got, err)
			}
		})
	}
}
