package container

import (
	"strings"
	"testing"
)

func TestSpecsAreRefusedByName(t *testing.T) {
	const process = `"process":{"args":["x"],"cwd":"/","user":{"uid":0,"gid":0}}`
	tests := []struct{ name, spec, want string }{
		{"a good one", `{"ociVersion":"1.3.0",` + process + `,"linux":{}}`, ""},
		{"not JSON", `x`, "read the runtime spec"},
		{"no version", `{` + process + `,"linux":{}}`, "version"},
		{"no process", `{"ociVersion":"1.0.0","linux":{}}`, "no process"},
		{"a field that nobody knows", `{"ociVersion":"1.0.0",` + process + `,"linux":{"magic":1}}`, "magic"},
		{"hooks", `{"ociVersion":"1.0.0",` + process + `,"linux":{},"hooks":{"prestart":[{"path":"/x"}]}}`, "hooks.prestart"},
		{"a hook of another kind", `{"ociVersion":"1.0.0",` + process + `,"linux":{},"hooks":{"poststop":[{"path":"/x"}]}}`, "hooks.poststop"},
		{"user mappings", `{"ociVersion":"1.0.0",` + process + `,"linux":{"uidMappings":[{"containerID":0,"hostID":1,"size":1}]}}`, "uidMappings"},
		{"a user namespace", `{"ociVersion":"1.0.0",` + process + `,"linux":{"namespaces":[{"type":"user"}],"uidMappings":[{"containerID":0,"hostID":1,"size":1}],"gidMappings":[{"containerID":0,"hostID":1,"size":1}]}}`, ""},
		{"a user namespace without maps", `{"ociVersion":"1.0.0",` + process + `,"linux":{"namespaces":[{"type":"user"}]}}`, "map of user ids"},
		{"a user namespace without a map of groups", `{"ociVersion":"1.0.0",` + process + `,"linux":{"namespaces":[{"type":"user"}],"uidMappings":[{"containerID":0,"hostID":1,"size":1}]}}`, "map of group ids"},
		{"a user namespace without root", `{"ociVersion":"1.0.0",` + process + `,"linux":{"namespaces":[{"type":"user"}],"uidMappings":[{"containerID":1,"hostID":1,"size":1}],"gidMappings":[{"containerID":0,"hostID":1,"size":1}]}}`, "root"},
		{"apparmor", `{"ociVersion":"1.0.0","process":{"args":["x"],"cwd":"/","apparmorProfile":"p","user":{"uid":0,"gid":0}},"linux":{}}`, "apparmorProfile"},
		{"a zero byte", `{"ociVersion":"1.0.0","process":{"args":["x\u0000"],"cwd":"/","user":{"uid":0,"gid":0}},"linux":{}}`, "zero byte"},
		{"a relative directory", `{"ociVersion":"1.0.0","process":{"args":["x"],"cwd":"tmp","user":{"uid":0,"gid":0}},"linux":{}}`, "not absolute"},
		{"a relative mount", `{"ociVersion":"1.0.0",` + process + `,"linux":{},"mounts":[{"destination":"../x"}]}`, "not an absolute path"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := parseSpec([]byte(test.spec))
			if test.want == "" && err == nil {
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestIDsCanBeFileNames(t *testing.T) {
	for _, id := range []string{"a", "A-1_b.c", strings.Repeat("x", 64)} {
		if err := checkID("container", id); err != nil {
			t.Error(err)
		}
	}
	for _, id := range []string{"", ".", "..", ".a", "-a", "a/b", "a b", "a\x00", "ä", strings.Repeat("x", 65)} {
		if checkID("container", id) == nil {
			t.Errorf("%q is taken", id)
		}
	}
}

func FuzzSpec(f *testing.F) {
	f.Add([]byte(`{"ociVersion":"1.3.0","process":{"args":["x"],"cwd":"/"},"linux":{"namespaces":[{"type":"pid"},{"type":"mount"}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		spec, err := parseSpec(text)
		if err == nil {
			_, _ = namespaces(spec.Linux.Namespaces)
		}
	})
}
