package imagetest

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

// Registry serves one image under any repository name and the tag "latest".
type Registry struct {
	// Host is its address, "127.0.0.1:1234".
	Host string
	// Intercept answers a request in place of the registry if it returns true. It is set before the first request, or with [Registry.Lie].
	Intercept func(w http.ResponseWriter, r *http.Request) bool

	image Image
	mu    sync.Mutex
	paths []string
}

// Serve starts a registry on loopback that ends with the test.
func Serve(t testing.TB, image Image) *Registry {
	t.Helper()
	r := &Registry{image: image}
	server := httptest.NewServer(r)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	r.Host = server.Listener.Addr().String()
	return r
}

// Requests returns how many requests had a path with this part.
func (r *Registry) Requests(part string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	count := 0
	for _, p := range r.paths {
		if strings.Contains(p, part) {
			count++
		}
	}
	return count
}

// ServeHTTP answers as a registry does.
func (r *Registry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	r.paths = append(r.paths, request.URL.Path)
	intercept := r.Intercept
	r.mu.Unlock()
	if intercept != nil && intercept(w, request) {
		return
	}
	r.Plain(w, request)
}

// Lie sets Intercept for clients that the race detector does not see: those in other processes.
func (r *Registry) Lie(intercept func(w http.ResponseWriter, r *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Intercept = intercept
}

// Honest ends the use of Intercept.
func (r *Registry) Honest() { r.Lie(nil) }

// Plain answers without Intercept.
func (r *Registry) Plain(w http.ResponseWriter, request *http.Request) {
	parts := strings.Split(request.URL.Path, "/")
	if len(parts) < 5 || parts[1] != "v2" {
		w.WriteHeader(http.StatusOK)
		return
	}
	kind, version := parts[len(parts)-2], parts[len(parts)-1]
	d := digest.Digest(version)
	if version == "latest" {
		d = r.image.Root.Digest
	}
	raw, ok := r.image.Blobs[d]
	if !ok {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`))
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if kind == "manifests" {
		w.Header().Set("Content-Type", r.mediaType(d))
	}
	w.Header().Set("Docker-Content-Digest", d.String())
	w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
	if request.Method != http.MethodHead {
		_, _ = w.Write(raw) // a client that has gone is what some tests are about
	}
}

func (r *Registry) mediaType(d digest.Digest) string {
	if d == r.image.Root.Digest {
		return r.image.Root.MediaType
	}
	for _, m := range r.image.Manifests {
		if m.Digest == d {
			return m.MediaType
		}
	}
	return "application/octet-stream"
}
