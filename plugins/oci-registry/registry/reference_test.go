package registry

import (
	"strings"
	"testing"

	"oras.land/oras-go/v2/registry"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/imagesource"
)

func TestReferences(t *testing.T) {
	hex := strings.Repeat("0", 64)
	for _, c := range []struct{ text, canonical, asked, repository, version string }{
		{"busybox", "docker.io/library/busybox:latest", "registry-1.docker.io", "library/busybox", "latest"},
		{"me/app:1", "docker.io/me/app:1", "registry-1.docker.io", "me/app", "1"},
		{"index.docker.io/me/app", "docker.io/me/app:latest", "registry-1.docker.io", "me/app", "latest"},
		{"ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1", "ghcr.io", "a/b/c", "v1"},
		{"localhost/app", "localhost/app:latest", "localhost", "app", "latest"},
		{"[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000", "app", "latest"},
		{"app@sha256:" + hex, "docker.io/library/app@sha256:" + hex, "registry-1.docker.io", "library/app", "sha256:" + hex},
		{"app:1@sha256:" + hex, "docker.io/library/app@sha256:" + hex, "registry-1.docker.io", "library/app", "sha256:" + hex},
	} {
		t.Run(c.text, func(t *testing.T) {
			got, err := parseReference(c.text)
			if err != nil {
				t.Fatal(err)
			}
			asked := registry.Reference{Registry: got.host}.Host()
			if got.canonical != c.canonical || asked != c.asked || got.repository != c.repository || got.version != c.version {
				t.Errorf("got %+v at %s", got, asked)
			}
		})
	}
	for _, text := range []string{"", "upper/Case", "a b", "x:" + strings.Repeat("y", 200), hex, "a/../b", "http://x/y", "x@sha256:12"} {
		if got, err := parseReference(text); fault.ReasonOf(err) != fault.Invalid {
			t.Errorf("%q is %+v, %v", text, got, err)
		}
	}
}

func TestPlainHTTPIsForThisMachineAlone(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "LOCALHOST:5000": true, "127.0.0.1:5000": true, "127.1.2.3": true, "[::1]:5000": true,
		"registry.example.com": false, "10.0.0.1:5000": false, "localhost.example.com": false, "127.0.0.1.example.com": false, "0.0.0.0:5000": false,
	} {
		if got := plainHTTP(host, imagesource.Access{}); got != want {
			t.Errorf("%s: %t", host, got)
		}
	}
	if plainHTTP("localhost", imagesource.Access{CAPath: "/ca.pem"}) || !plainHTTP("example.com", imagesource.Access{PlainHTTP: true}) {
		t.Error("what the user says does not count")
	}
}
