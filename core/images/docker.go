package images

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// named is a reference to an image of a registry, read as Docker reads it. A test compares it with github.com/distribution/reference, which is not used
// itself because it compiles regular expressions at the start of each program that has it: 3 ms, as much as all other packages take together.
type named struct {
	domain    string // may be empty: "a_b.c/app" names no host
	path      string
	tag       string
	digest    digest.Digest
	canonical string // with a digest without the tag, with neither with the tag "latest"
}

const (
	dockerHub     = "docker.io"
	dockerHubOnce = "index.docker.io"
	official      = "library/"
	maxPath       = 255
	maxTag        = 127 + 1
)

var errFormat = errors.New("it is no name, or has a tag or a digest that is none")

// parseNamed completes a reference, and takes it apart.
func parseNamed(text string) (named, error) {
	if len(text) == 64 && only(text, hexadecimal) {
		return named{}, errors.New("64 hexadecimal digits are an id and no name")
	}
	var n named
	var rest string
	n.domain, rest = splitDomain(text)
	rest, sum, digested := strings.Cut(rest, "@")
	path, tag, tagged := strings.Cut(rest, ":")
	if strings.ToLower(path) != path {
		return named{}, fmt.Errorf("the name %q must be lower case", path)
	}
	n.path, n.tag = path, tag
	if !isDomain(n.domain) { // it may be the beginning of a path
		n.domain, n.path = "", n.domain+"/"+path
	}
	for component := range strings.SplitSeq(n.path, "/") {
		if !isComponent(component) {
			return named{}, errFormat
		}
	}
	if tagged && !isTag(tag) {
		return named{}, errFormat
	}
	if len(n.path) > maxPath {
		return named{}, fmt.Errorf("its name is longer than %d characters", maxPath)
	}
	n.canonical = n.path
	if n.domain != "" {
		n.canonical = n.domain + "/" + n.path
	}
	switch {
	case digested:
		var err error
		if n.digest, err = digest.Parse(sum); err != nil {
			return named{}, err
		}
		n.canonical += "@" + sum
	case tagged:
		n.canonical += ":" + tag
	default:
		n.canonical += ":latest"
	}
	return n, nil
}

// familiar leaves out what Docker completes, but for the tag.
func (n named) familiar() string {
	path := n.path
	switch rest, ok := strings.CutPrefix(path, official); {
	case n.domain == dockerHub && ok && !strings.Contains(rest, "/"):
		path = rest
	case n.domain != dockerHub && n.domain != "":
		path = n.domain + "/" + path
	}
	if n.tag != "" {
		path += ":" + n.tag
	}
	if n.digest != "" {
		path += "@" + n.digest.String()
	}
	return path
}

// splitDomain takes off what is the name of a registry, or completes it. A first word is one if it could be no part of an image's name, or is "localhost".
func splitDomain(text string) (domain, rest string) {
	domain, rest, several := strings.Cut(text, "/")
	switch {
	case !several:
		return dockerHub, official + text
	case domain == dockerHubOnce:
		domain = dockerHub
	case domain != "localhost" && !strings.ContainsAny(domain, ".:") && strings.ToLower(domain) == domain:
		domain, rest = dockerHub, text
	}
	if domain == dockerHub && !strings.Contains(rest, "/") {
		rest = official + rest
	}
	return domain, rest
}

const (
	digits      = "0123456789"
	hexadecimal = digits + "abcdef"
	lower       = "abcdefghijklmnopqrstuvwxyz" + digits
	letters     = lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// only reports whether a text has no other characters.
func only(text, characters string) bool { return strings.Trim(text, characters) == "" }

// isDomain reports whether a text is a host's name, an IPv4 address or an IPv6 address in brackets, and perhaps a port.
func isDomain(text string) bool {
	host, port, ported := strings.Cut(text, ":")
	if inner, ok := strings.CutPrefix(text, "["); ok {
		if inner, port, ok = strings.Cut(inner, "]"); !ok || inner == "" || !only(inner, hexadecimal+"ABCDEF:") {
			return false
		}
		if port, ported = strings.CutPrefix(port, ":"); !ported && port != "" {
			return false
		}
		return !ported || port != "" && only(port, digits)
	}
	if ported && (port == "" || !only(port, digits)) {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || !only(label, letters+"-") || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}

// isComponent reports whether a text is what may stand between the slashes of a path: words of lower case, with one dot, one or two underscores, or any
// number of dashes between them.
func isComponent(text string) bool {
	for {
		rest := strings.TrimLeft(text, lower)
		if len(rest) == len(text) {
			return false
		}
		if rest == "" {
			return true
		}
		switch {
		case rest[0] == '-':
			text = strings.TrimLeft(rest, "-")
		case strings.HasPrefix(rest, "__"):
			text = rest[2:]
		case rest[0] == '_' || rest[0] == '.':
			text = rest[1:]
		default:
			return false
		}
	}
}

// isTag reports whether a text is a tag.
func isTag(text string) bool {
	return text != "" && len(text) <= maxTag && only(text, letters+"_.-") && !strings.ContainsRune(".-", rune(text[0]))
}
