package registry_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/imagesource"
	"github.com/vzctl/vzctl/sdk/imagesource/imagetest"
)

var alice = imagesource.Access{Username: "alice", Password: "open sesame"}

// tokenServer gives a token to anybody who may have one, and makes registry ask for it.
type tokenServer struct {
	registry  *imagetest.Registry
	realm     string
	anonymous bool

	mu    sync.Mutex
	asked []url.Values
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.asked = append(s.asked, r.Form)
	s.mu.Unlock()
	user, password, _ := r.BasicAuth()
	allowed := s.anonymous || user == alice.Username && password == alice.Password || r.Form.Get("refresh_token") == "identity"
	if !allowed {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`))
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"token": "pass-" + r.Form.Get("scope"), "access_token": "pass-" + r.Form.Get("scope")})
}

func (s *tokenServer) intercept(w http.ResponseWriter, r *http.Request) bool {
	const scope = "repository:private/image:pull"
	if r.Header.Get("Authorization") == "Bearer pass-"+scope {
		return false
	}
	w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="registry",scope=%q`, s.realm, scope))
	w.WriteHeader(http.StatusUnauthorized)
	return true
}

func TestRegistryTokens(t *testing.T) {
	for _, c := range []struct {
		name      string
		anonymous bool
		access    imagesource.Access
		refused   bool
	}{
		{name: "anybody gets a token for a public image", anonymous: true},
		{name: "nobody gets one for a private image", refused: true},
		{name: "who has a password gets one", access: alice},
		{name: "who has a wrong password does not", access: imagesource.Access{Username: "alice", Password: "wrong"}, refused: true},
		{name: "who has an identity token gets one", access: imagesource.Access{IdentityToken: "identity"}},
		{name: "who has a wrong identity token does not", access: imagesource.Access{IdentityToken: "wrong"}, refused: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			tokens := &tokenServer{registry: imagetest.Serve(t, two(t)), anonymous: c.anonymous}
			server := httptest.NewServer(tokens)
			t.Cleanup(server.Close)
			tokens.realm = server.URL + "/token"
			tokens.registry.Intercept = tokens.intercept
			_, err := impatient.Pull(t.Context(), imagesource.PullRequest{Reference: tokens.registry.Host + "/private/image", Platforms: amd64,
				LayoutPath: t.TempDir(), Access: c.access}, nil)
			if c.refused {
				check(t, err, fault.Unauthenticated, "give credentials")
				if strings.Contains(err.Error(), "wrong") {
					t.Error("the error shows the secret")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(tokens.asked) != 1 {
				t.Errorf("%d tokens were asked for, one is enough for all blobs", len(tokens.asked))
			}
		})
	}
}

func basic(w http.ResponseWriter, r *http.Request) bool {
	if user, password, _ := r.BasicAuth(); user == alice.Username && password == alice.Password {
		return false
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
	w.WriteHeader(http.StatusUnauthorized)
	return true
}

func TestRegistryPasswords(t *testing.T) {
	server := imagetest.Serve(t, two(t))
	server.Intercept = basic
	pull := func(access imagesource.Access) error {
		_, err := impatient.Pull(t.Context(), imagesource.PullRequest{Reference: server.Host + "/x", Platforms: amd64, LayoutPath: t.TempDir(), Access: access}, nil)
		return err
	}
	if err := pull(alice); err != nil {
		t.Error(err)
	}
	check(t, pull(imagesource.Access{}), fault.Unauthenticated, "give credentials")
	check(t, pull(imagesource.Access{Username: "alice", Password: "wrong"}), fault.Unauthenticated, "give credentials")
}

// Another port is another server, though the name is the same; so is another name. Neither may get the password, by asking for it either.
func TestRegistryRedirectsTakeNoCredentialsAlong(t *testing.T) {
	image := two(t)
	store := imagetest.Serve(t, image) // where blobs really are
	for name, challenge := range map[string]string{
		"a store that does not ask":          "",
		"a store that asks for the password": `Basic realm="store"`,
		"a store that sends to its tokens":   "Bearer",
	} {
		t.Run(name, func(t *testing.T) {
			_, port, _ := strings.Cut(store.Host, ":")
			for _, host := range []string{store.Host, "localhost:" + port} {
				var mu sync.Mutex
				var leaked []string
				store.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
					_ = r.ParseForm()
					mu.Lock()
					defer mu.Unlock()
					if a := r.Header.Get("Authorization"); a != "" || len(r.PostForm) > 0 {
						leaked = append(leaked, r.URL.Path+" got "+a+r.PostForm.Encode())
					}
					if challenge == "" {
						return false
					}
					c := challenge
					if c == "Bearer" {
						c = fmt.Sprintf(`Bearer realm="http://%s/token",service="evil"`, host)
					}
					w.Header().Set("WWW-Authenticate", c)
					w.WriteHeader(http.StatusUnauthorized)
					return true
				}
				front := imagetest.Serve(t, image)
				front.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
					if basic(w, r) {
						return true
					}
					if !strings.Contains(r.URL.Path, "/blobs/") {
						return false
					}
					http.Redirect(w, r, "http://"+host+r.URL.Path+"?signature=secret", http.StatusTemporaryRedirect)
					return true
				}
				_, err := impatient.Pull(t.Context(), imagesource.PullRequest{Reference: front.Host + "/x", Platforms: amd64, LayoutPath: t.TempDir(), Access: alice}, nil)
				if challenge == "" && err != nil {
					t.Error(err)
				}
				if challenge != "" {
					check(t, err, fault.ReasonOf(err), "")
				}
				if len(leaked) > 0 {
					t.Errorf("%s: %v", host, leaked)
				}
			}
		})
	}
}

func TestRegistryWithTLS(t *testing.T) {
	image := two(t)
	plain := imagetest.Serve(t, image)
	secure := httptest.NewTLSServer(plain)
	t.Cleanup(secure.Close)
	host := secure.Listener.Addr().String()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	unrelated := filepath.Join(t.TempDir(), "other.pem")
	if err := os.WriteFile(unrelated, otherCertificate(t), 0o600); err != nil {
		t.Fatal(err)
	}
	resolve := func(access imagesource.Access) error {
		_, err := impatient.Resolve(t.Context(), imagesource.ResolveRequest{Reference: host + "/x", Access: access})
		return err
	}
	if err := resolve(imagesource.Access{CAPath: ca}); err != nil {
		t.Errorf("with its certificate: %v", err)
	}
	if err := resolve(imagesource.Access{InsecureSkipVerify: true}); err != nil {
		t.Errorf("unchecked: %v", err)
	}
	check(t, resolve(imagesource.Access{CAPath: unrelated}), fault.Unavailable, "not trusted")
	check(t, resolve(imagesource.Access{}), fault.Unavailable, "plain HTTP was spoken")

	plain.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if r.TLS == nil {
			return false
		}
		http.Redirect(w, r, "http://"+plain.Host+r.URL.Path, http.StatusTemporaryRedirect)
		return true
	}
	check(t, resolve(imagesource.Access{CAPath: ca}), fault.Unavailable, "without encryption")
}
