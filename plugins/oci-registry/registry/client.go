package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	orasregistry "oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/imagesource"
	"github.com/vzctl/vzctl/sdk/imagesource/transfer"
	"github.com/vzctl/vzctl/sdk/layout"
)

const (
	defaultConnectTimeout = 10 * time.Second
	defaultStallTimeout   = 30 * time.Second
	maxRedirects          = 10
)

// connect prepares the way to a reference's repository; nothing is sent yet.
func (s Source) connect(text string, access imagesource.Access) (*session, error) {
	ref, err := parseReference(text)
	if err != nil {
		return nil, err
	}
	if s.ConnectTimeout == 0 {
		s.ConnectTimeout = defaultConnectTimeout
	}
	if s.StallTimeout == 0 {
		s.StallTimeout = defaultStallTimeout
	}
	if s.UserAgent == "" {
		s.UserAgent = "vzctl"
	}
	trust, err := trusted(access)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: s.ConnectTimeout}).DialContext,
		TLSHandshakeTimeout:    s.ConnectTimeout,
		TLSClientConfig:        trust,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    transfer.DefaultConcurrent,
		IdleConnTimeout:        s.StallTimeout,
		DisableCompression:     true, // digests and sizes are of the bytes as they are stored
		ReadBufferSize:         256 << 10,
		MaxResponseHeaderBytes: 256 << 10,
	}
	repository := &remote.Repository{
		Reference:          orasregistry.Reference{Registry: ref.host, Repository: ref.repository},
		PlainHTTP:          plainHTTP(ref.host, access),
		ManifestMediaTypes: transfer.ManifestTypes(),
		MaxMetadataBytes:   layout.MaxDocument,
	}
	client := &auth.Client{
		// Authorization headers are kept from other hosts and ports by auth.Client, as is a token server of theirs.
		Client:   &http.Client{Transport: stallGuard{transport, s.StallTimeout}, CheckRedirect: checkRedirect},
		Cache:    auth.NewCache(),
		ClientID: "vzctl",
		Header:   http.Header{"User-Agent": {s.UserAgent}},
	}
	// For the registry's own name only, however the challenge came.
	client.Credential = auth.StaticCredential(repository.Reference.Host(), auth.Credential{
		Username: access.Username, Password: access.Password, RefreshToken: access.IdentityToken,
	})
	repository.Client = client
	return &session{
		reference: ref, repository: repository, close: transport.CloseIdleConnections,
		patience: 4 * s.StallTimeout, stall: s.StallTimeout, plain: repository.PlainHTTP,
	}, nil
}

// plainHTTP decides on the scheme. This machine's own registries rarely have certificates; who says how to check one wants TLS.
func plainHTTP(host string, access imagesource.Access) bool {
	if access.PlainHTTP {
		return true
	}
	return loopback(host) && access.CAPath == "" && !access.InsecureSkipVerify
}

func trusted(access imagesource.Access) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: access.InsecureSkipVerify}
	if access.CAPath == "" {
		return config, nil
	}
	const limit = 16 << 20 // far more than the certificates of the world
	f, err := os.Open(access.CAPath)
	if err != nil {
		return nil, &fault.Error{Reason: fault.Invalid, Op: "read certificates", Subject: access.CAPath, Cause: err}
	}
	pem, err := io.ReadAll(io.LimitReader(f, limit))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, &fault.Error{Reason: fault.Invalid, Op: "read certificates", Subject: access.CAPath, Cause: err}
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a system without certificates
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, &fault.Error{Reason: fault.Invalid, Op: "read certificates", Subject: access.CAPath,
			Cause: errors.New("it holds no certificate"), Hint: "give a PEM file"}
	}
	config.RootCAs = pool
	return config, nil
}

// checkRedirect follows a registry to where it keeps its blobs, but not out of TLS.
func checkRedirect(request *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if via[0].URL.Scheme == "https" && request.URL.Scheme != "https" {
		return errors.New("the registry redirects to an address without encryption")
	}
	return nil
}

// errStalled ends a request whose peer sent nothing for too long, errTooSlow one that sent too slowly.
var (
	errStalled = errors.New("stalled")
	errTooSlow = errors.New("too slow")
)

// stallGuard ends requests whose peer is silent while someone waits for it.
type stallGuard struct {
	next    http.RoundTripper
	timeout time.Duration
}

// RoundTrip implements http.RoundTripper.
func (g stallGuard) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(request.Context())
	timer := time.AfterFunc(g.timeout, func() { cancel(errStalled) })
	response, err := g.next.RoundTrip(request.WithContext(ctx))
	timer.Stop()
	if err != nil {
		defer cancel(nil)
		if errors.Is(context.Cause(ctx), errStalled) {
			return nil, errStalled
		}
		return nil, err
	}
	response.Body = &guardedBody{body: response.Body, ctx: ctx, cancel: cancel, timer: timer, timeout: g.timeout}
	return response, nil
}

// guardedBody lets time run only while it is read: a full disk or a slow hash is not the registry's silence.
type guardedBody struct {
	body    io.ReadCloser
	ctx     context.Context // of the request, which the body belongs to
	cancel  context.CancelCauseFunc
	timer   *time.Timer
	timeout time.Duration
}

func (b *guardedBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.timeout)
	n, err := b.body.Read(p)
	b.timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) && errors.Is(context.Cause(b.ctx), errStalled) {
		err = errStalled
	}
	return n, err
}

func (b *guardedBody) Close() error {
	b.timer.Stop()
	defer b.cancel(nil)
	return b.body.Close()
}
