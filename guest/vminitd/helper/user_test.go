package helper

import (
	"fmt"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const (
	testPasswd = "# comment\n\nroot:x:0:0:root:/root:/bin/sh\nalice:x:1000:100::/home/alice:\nshort:x:5:6\n99:x:7:8::/n:\nbad:x:x:y::/:\n"
	testGroup  = "root:x:0:\nusers:x:100:\nwheel:x:10:bob,alice\n"
)

func TestUsersAreLookedUpInTheContainersOwnFiles(t *testing.T) {
	spec := specs.User{UID: 1000, GID: 3, AdditionalGids: []uint32{4}}
	tests := []struct{ name, user, want string }{
		{"the spec's user, with the home of passwd", "", "1000:3 [4] /home/alice"},
		{"by name", "alice", "1000:100 [100 10 4] /home/alice"},
		{"by number", "1000", "1000:100 [100 10 4] /home/alice"},
		{"a name that is a number", "99", "7:8 [8 4] /n"},
		{"a number that passwd does not know", "4711", "4711:0 [0 4] /"},
		{"with a group by name", "alice:wheel", "1000:10 [10 4] /home/alice"},
		{"with a group by number", "root:77", "0:77 [77 4] /root"},
		{"a short line", "short", "5:6 [6 4] /"},
		{"unknown", "bob", "not found"},
		{"unknown group", "alice:nobody", "not found"},
		{"too large", "4294967295", "not found"},
		{"negative", "-1", "not found"},
		{"damaged", "bad", "not found"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a, err := findAccount(test.user, spec, strings.NewReader(testPasswd), strings.NewReader(testGroup))
			got := fmt.Sprintf("%d:%d %v %s", a.uid, a.gid, a.groups, a.home)
			if err != nil {
				got = "not found"
			}
			if got != test.want {
				t.Errorf("%s (%v), want %s", got, err, test.want)
			}
		})
	}
}

func FuzzAccount(f *testing.F) {
	f.Add("alice:wheel", testPasswd, testGroup)
	f.Fuzz(func(t *testing.T, name, passwd, group string) {
		a, err := findAccount(name, specs.User{}, strings.NewReader(passwd), strings.NewReader(group))
		if err == nil && (a.uid < 0 || a.gid < 0 || a.home == "") {
			t.Errorf("%+v", a)
		}
	})
}
