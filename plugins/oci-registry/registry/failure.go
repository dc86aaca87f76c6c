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
	"net/url"
	"regexp"
	"strings"

	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/imagesource/transfer"
)

// wrap says what was being done when err, which has a reason, happened.
func wrap(op, subject string, err error) error {
	return &fault.Error{Reason: fault.ReasonOf(err), Op: op, Subject: subject, Cause: err}
}

// explain turns any failure of a call into the one line a user reads.
func (s *session) explain(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s %q: %w", op, s.reference.canonical, context.Cause(ctx))
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return wrap(op, s.reference.canonical, err)
	}
	e := s.classify(err)
	e.Op, e.Subject = op, s.reference.canonical
	return e
}

// classify finds reason, cause and hint. Nothing of an address but the host is shown: redirects carry signatures in theirs.
func (s *session) classify(err error) *fault.Error {
	host := s.repository.Reference.Host()
	if response, ok := errors.AsType[*errcode.ErrorResponse](err); ok {
		return s.classifyStatus(host, response)
	}
	switch {
	case errors.Is(err, errStalled):
		return &fault.Error{Reason: fault.Unavailable, Cause: fmt.Errorf("%s sent nothing for %s", host, s.stall),
			Hint: "check the network and the registry, then try again"}
	case errors.Is(err, errTooSlow):
		return &fault.Error{Reason: fault.Unavailable, Cause: fmt.Errorf("%s did not send a small document within %s", host, s.patience),
			Hint: "check the network and the registry, then try again"}
	case errors.Is(err, errdef.ErrNotFound):
		return &fault.Error{Reason: fault.NotFound, Cause: fmt.Errorf("%s has no such image, or misses a part of it", host),
			Hint: "check name and tag; a private image needs credentials"}
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return unauthenticated(host, "it wants a user name and password")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &fault.Error{Reason: fault.Unavailable, Cause: fmt.Errorf("the connection to %s broke off in the middle of a blob", host),
			Hint: "try again"}
	case strings.Contains(err.Error(), "mismatch"):
		// oras-go has no error of its own for headers that contradict the manifest.
		return &fault.Error{Reason: fault.DigestMismatch, Cause: fmt.Errorf("%s sends another size or digest than asked for", host),
			Hint: "the image is damaged in the registry"}
	}
	if e := s.classifyTLS(host, err); e != nil {
		return e
	}
	if e := classifyNetwork(host, err); e != nil {
		return e
	}
	return &fault.Error{Reason: fault.Unavailable, Cause: fmt.Errorf("%s gave an answer that makes no sense: %s", host, transfer.Quote(redact(err))),
		Hint: "check that it is a registry, and that no proxy answers instead"}
}

func (s *session) classifyStatus(host string, r *errcode.ErrorResponse) *fault.Error {
	said := fmt.Sprintf("status %d", r.StatusCode)
	if len(r.Errors) > 0 {
		said += ", " + transfer.Quote(strings.TrimSpace(r.Errors[0].Code+" "+r.Errors[0].Message))
	}
	answered := fmt.Errorf("%s answered with %s", host, said)
	switch {
	case r.StatusCode == http.StatusUnauthorized:
		return unauthenticated(host, said)
	case r.StatusCode == http.StatusForbidden:
		return &fault.Error{Reason: fault.PermissionDenied, Cause: answered, Hint: "check the reference; the image may need other credentials"}
	case r.StatusCode == http.StatusNotFound:
		return &fault.Error{Reason: fault.NotFound, Cause: answered, Hint: "check name and tag"}
	case r.StatusCode == http.StatusTooManyRequests:
		return &fault.Error{Reason: fault.Unavailable, Cause: answered, Hint: "wait a while, or use credentials for a higher limit"}
	case r.StatusCode >= http.StatusInternalServerError:
		return &fault.Error{Reason: fault.Unavailable, Cause: answered, Hint: "try again later"}
	case r.StatusCode == http.StatusBadRequest && s.plain:
		return &fault.Error{Reason: fault.Unavailable, Cause: answered, Hint: "plain HTTP was spoken; a registry with TLS here needs its CA certificate given"}
	}
	return &fault.Error{Reason: fault.Unavailable, Cause: answered, Hint: "check that it is a registry, and that no proxy answers instead"}
}

func unauthenticated(host, said string) *fault.Error {
	return &fault.Error{Reason: fault.Unauthenticated, Cause: fmt.Errorf("%s refuses access: %s", host, said),
		Hint: "check the name of the image, and give credentials that may read it"}
}

func (s *session) classifyTLS(host string, err error) *fault.Error {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, http.ErrSchemeMismatch) {
		return &fault.Error{Reason: fault.Unavailable, Cause: fmt.Errorf("%s does not speak TLS", host),
			Hint: "only registries on this machine are spoken to without, unless plain HTTP is allowed"}
	}
	_, verification := errors.AsType[*tls.CertificateVerificationError](err)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, name := errors.AsType[x509.HostnameError](err)
	if verification || unknown || name {
		return &fault.Error{Reason: fault.Unavailable, Cause: fmt.Errorf("the certificate of %s is not trusted: %s", host, transfer.Quote(redact(err))),
			Hint: "give the certificate of its authority"}
	}
	return nil
}

func classifyNetwork(host string, err error) *fault.Error {
	e := &fault.Error{Reason: fault.Unavailable, Hint: "check the network, the name and the port, and that the registry runs"}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		e.Cause = fmt.Errorf("the name %q cannot be resolved", dns.Name)
		return e
	}
	if _, ok := errors.AsType[net.Error](innermost(err)); ok || errors.Is(err, io.EOF) {
		e.Cause = fmt.Errorf("no connection to %s: %s", host, redact(innermost(err)))
		return e
	}
	return nil
}

// innermost drops the method and address of a request from its failure. *url.Error is a net.Error whatever its cause.
func innermost(err error) error {
	for {
		request, ok := errors.AsType[*url.Error](err)
		if !ok {
			return err
		}
		err = request.Err
	}
}

var query = regexp.MustCompile(`\?[^\s"]*`)

// redact drops what may be secret from an error's text: the queries of addresses.
func redact(err error) string { return query.ReplaceAllString(err.Error(), "?...") }
