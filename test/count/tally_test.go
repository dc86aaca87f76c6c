package main

import (
	"strings"
	"testing"
)

func TestTally(t *testing.T) {
	for _, c := range []struct {
		name, events, want string
		prints             []string
	}{
		{
			"a test with subtests is counted by these",
			`{"Action":"run","Package":"p","Test":"A"}
			{"Action":"run","Package":"p","Test":"A/one"}
			{"Action":"run","Package":"p","Test":"A/two"}
			{"Action":"pass","Package":"p","Test":"A/one"}
			{"Action":"fail","Package":"p","Test":"A/two"}
			{"Action":"fail","Package":"p","Test":"A"}
			{"Action":"fail","Package":"p"}`,
			"1 passed, 1 failed, 0 skipped", []string{"--- FAIL p A/two"},
		},
		{
			"a parent that fails by itself is counted",
			`{"Action":"run","Package":"p","Test":"A"}
			{"Action":"run","Package":"p","Test":"A/one"}
			{"Action":"pass","Package":"p","Test":"A/one"}
			{"Action":"fail","Package":"p","Test":"A"}
			{"Action":"fail","Package":"p"}`,
			"1 passed, 1 failed, 0 skipped", nil,
		},
		{
			"a skipped test tells why",
			`{"Action":"run","Package":"p","Test":"A"}
			{"Action":"output","Package":"p","Test":"A","Output":"    a_test.go:1: needs root\n"}
			{"Action":"skip","Package":"p","Test":"A"}
			{"Action":"pass","Package":"p"}`,
			"0 passed, 0 failed, 1 skipped", []string{"needs root"},
		},
		{
			"a test under which the process died failed",
			`{"Action":"run","Package":"p","Test":"A"}
			{"Action":"output","Package":"p","Test":"A","Output":"panic: oh\n"}
			{"Action":"fail","Package":"p"}`,
			"0 passed, 1 failed, 0 skipped", []string{"panic: oh"},
		},
		{
			"a package that does not build is one failure, with the compiler's words",
			`{"ImportPath":"p [p.test]","Action":"build-output","Output":"undefined: x\n"}
			{"ImportPath":"p [p.test]","Action":"build-fail"}
			{"Action":"fail","Package":"p","FailedBuild":"p [p.test]"}`,
			"0 passed, 1 failed, 0 skipped", []string{"undefined: x"},
		},
		{"lines that are no events are passed on", "hello\n", "0 passed, 0 failed, 0 skipped", []string{"hello"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			tally := newTally(&out)
			read(tally, strings.NewReader(strings.ReplaceAll(c.events, "\t", "")))
			if got := tally.summary(true); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			for _, want := range c.prints {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is missing in:\n%s", want, out.String())
				}
			}
		})
	}
}

func TestARunThatFailedWithoutATestCounts(t *testing.T) {
	if got := newTally(&strings.Builder{}).summary(false); got != "0 passed, 1 failed, 0 skipped" {
		t.Error(got)
	}
}
