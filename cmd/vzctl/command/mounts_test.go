package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/core/engine"
)

func TestMountsAsPeopleWriteThem(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]engine.Mount{
		"-v /a:/b":                   {Type: "bind", Source: "/a", Destination: "/b", Create: true},
		"-v ./a:/b:ro":               {Type: "bind", Source: filepath.Join(here, "a"), Destination: "/b", ReadOnly: true, Create: true},
		"-v .:/b:rw,z":               {Type: "bind", Source: here, Destination: "/b", Create: true},
		"-v /a:/b:transport=9p":      {Type: "bind", Source: "/a", Destination: "/b", Create: true, Transport: "9p"},
		"-v a/b:/b:ownership=mapped": {Type: "bind", Source: filepath.Join(here, "a/b"), Destination: "/b", Create: true, Ownership: "mapped"},
		"-v a:/b":                    {Type: "volume", Source: "a", Destination: "/b"},
		"-v a:/b:ro,nocopy":          {Type: "volume", Source: "a", Destination: "/b", ReadOnly: true, NoCopy: true},
		"-v /b":                      {Type: "volume", Destination: "/b"},
		"--mount type=bind,src=/a:b,dst=/b,readonly":               {Type: "bind", Source: "/a:b", Destination: "/b", ReadOnly: true},
		`--mount type=bind,"source=/a,b",target=/b,ro=false`:       {Type: "bind", Source: "/a,b", Destination: "/b"},
		"--mount source=a,target=/b,volume-nocopy":                 {Type: "volume", Source: "a", Destination: "/b", NoCopy: true},
		"--mount type=volume,destination=/b":                       {Type: "volume", Destination: "/b"},
		"--mount type=bind,source=/a,target=/b,transport=virtiofs": {Type: "bind", Source: "/a", Destination: "/b", Transport: "virtiofs"},
		"--mount type=bind,source=/a,target=/b,ownership=mapped":   {Type: "bind", Source: "/a", Destination: "/b", Ownership: "mapped"},
	} {
		flag, value, _ := strings.Cut(text, " ")
		var got engine.Mount
		if flag == "-v" {
			got, err = parseVolume(value)
		} else {
			got, _, err = parseMount(value)
		}
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
	}
	if _, tmpfs, err := parseMount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700,ro"); tmpfs != "/t:size=1048576,mode=700,ro" || err != nil {
		t.Errorf("a tmpfs is %q, %v", tmpfs, err)
	}
}

func TestMountsThatNobodyUnderstands(t *testing.T) {
	for _, text := range []string{"-v a:b:c:d", "-v :/b", "-v a:", "-v a:/b:fast", "-v /a:/b:nocopy", "-v a:/b:ownership=mapped", "-v a:/b:shared",
		"--mount type=bind,target=/b", "--mount type=bind,source=/a", "--mount type=nfs,target=/b", "--mount type=tmpfs,source=/a,target=/b", "--mount target=/b,speed=1",
		"--mount type=bind,source=/a,target=/b,tmpfs-size=1m", "--mount type=bind,source=/a,target=/b,ro=perhaps", "--mount type=bind,source=/a,target=/b,bind-propagation=shared",
		"--mount target=/b,ownership=mapped", `--mount "`, "--mount type=tmpfs,target=/b,tmpfs-size=big"} {
		flag, value, _ := strings.Cut(text, " ")
		var err error
		if flag == "-v" {
			_, err = parseVolume(value)
		} else {
			_, _, err = parseMount(value)
		}
		if err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}
