package registry

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	distribution "github.com/distribution/reference"

	"github.com/vzctl/vzctl/sdk/fault"
)

// reference is what a user typed, in full.
type reference struct {
	host       string // as typed, or docker.io
	repository string // without the host
	version    string // a tag, or a digest
	canonical  string
}

// parseReference completes a short reference as Docker does. If there is a tag and a digest the digest wins and the tag is dropped: nobody
// could say later whether it was true.
func parseReference(text string) (reference, error) {
	named, err := distribution.ParseDockerRef(text)
	if err != nil {
		return reference{}, &fault.Error{Reason: fault.Invalid, Op: "read reference", Subject: text, Cause: err,
			Hint: `write it like "name:tag" or "registry.example.com/name:tag"`}
	}
	r := reference{host: distribution.Domain(named), repository: distribution.Path(named), canonical: named.String()}
	switch v := named.(type) {
	case distribution.Digested:
		r.version = v.Digest().String()
	case distribution.Tagged:
		r.version = v.Tag()
	default:
		return reference{}, &fault.Error{Reason: fault.Invalid, Op: "read reference", Subject: text, Cause: fmt.Errorf("neither tag nor digest")}
	}
	return r, nil
}

// loopback reports whether a host, with or without a port, is this machine.
func loopback(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	if strings.EqualFold(name, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.Unmap().IsLoopback()
}
