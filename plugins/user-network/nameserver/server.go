// Package nameserver answers the DNS queries of guests: names of the network itself from what it knows, everything else by passing the query,
// byte for byte, to the host's resolvers and their answer back. So every record type works that works on the host. It caches nothing.
//
// Queries go out from this process: resolvers on the host's loopback work, whether or not guests may reach loopback.
package nameserver

import (
	"bytes"
	"context"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Zone is the domain of names that are never asked of anybody else.
const Zone = "vzctl.internal"

// Server answers messages.
type Server struct {
	// Names are those of the zone, without it: "host", with at most one address of each family. They do not change.
	Names map[string][]netip.Addr
	// Upstream lists resolvers in the order to ask.
	Upstream func() []netip.AddrPort
}

const (
	headerLength = 12
	maxAttempts  = 4
)

// Answer returns the response to a query, or nil if the message deserves none.
func (s *Server) Answer(ctx context.Context, query []byte, overTCP bool) []byte {
	var p dnsmessage.Parser
	header, err := p.Start(query)
	if err != nil || header.Response {
		return nil
	}
	question, err := p.Question()
	if err != nil {
		return reply(header, nil, dnsmessage.RCodeFormatError, nil)
	}
	if _, err := p.Question(); err != dnsmessage.ErrSectionDone {
		return reply(header, nil, dnsmessage.RCodeFormatError, nil)
	}
	if header.OpCode != 0 {
		return reply(header, &question, dnsmessage.RCodeNotImplemented, nil)
	}
	name := strings.ToLower(strings.TrimSuffix(question.Name.String(), "."))
	if name == Zone || strings.HasSuffix(name, "."+Zone) {
		return s.local(header, question, strings.TrimSuffix(strings.TrimSuffix(name, Zone), "."))
	}
	if answer := s.forward(ctx, query, overTCP); answer != nil {
		return answer
	}
	return reply(header, &question, dnsmessage.RCodeServerFailure, nil)
}

func (s *Server) local(header dnsmessage.Header, q dnsmessage.Question, name string) []byte {
	addresses, known := s.Names[name]
	switch {
	case !known && name != "":
		return reply(header, &q, dnsmessage.RCodeNameError, nil)
	case !known || q.Class != dnsmessage.ClassINET:
		return reply(header, &q, dnsmessage.RCodeSuccess, nil)
	}
	return reply(header, &q, dnsmessage.RCodeSuccess, records(q.Type, addresses))
}

// records are those of a type that is asked for.
func records(kind dnsmessage.Type, addresses []netip.Addr) []dnsmessage.ResourceBody {
	var list []dnsmessage.ResourceBody
	for _, a := range addresses {
		switch {
		case a.Is4() && (kind == dnsmessage.TypeA || kind == dnsmessage.TypeALL):
			list = append(list, &dnsmessage.AResource{A: a.As4()})
		case a.Is6() && (kind == dnsmessage.TypeAAAA || kind == dnsmessage.TypeALL):
			list = append(list, &dnsmessage.AAAAResource{AAAA: a.As16()})
		}
	}
	return list
}

// reply builds a response; nothing in it can be too long.
func reply(to dnsmessage.Header, q *dnsmessage.Question, code dnsmessage.RCode, answers []dnsmessage.ResourceBody) []byte {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: to.ID, Response: true, OpCode: to.OpCode, RecursionDesired: to.RecursionDesired,
		RecursionAvailable: true, Authoritative: answers != nil, RCode: code})
	_ = b.StartQuestions()
	if q != nil {
		_ = b.Question(*q)
	}
	_ = b.StartAnswers()
	for _, body := range answers {
		head := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class}
		switch body := body.(type) {
		case *dnsmessage.AResource:
			_ = b.AResource(head, *body)
		case *dnsmessage.AAAAResource:
			_ = b.AAAAResource(head, *body)
		}
	}
	message, err := b.Finish()
	if err != nil {
		return nil
	}
	return message
}

// forward asks the resolvers in turn, twice each. The first that answers decides, unless it says that it cannot.
func (s *Server) forward(ctx context.Context, query []byte, overTCP bool) []byte {
	var failed []byte
	attempts := 0
	for range 2 {
		for _, server := range s.Upstream() {
			if attempts++; attempts > maxAttempts || ctx.Err() != nil {
				return failed
			}
			answer := ask(ctx, server, query, overTCP)
			if answer == nil {
				continue
			}
			if code := dnsmessage.RCode(answer[3] & 15); code != dnsmessage.RCodeServerFailure && code != dnsmessage.RCodeRefused {
				return answer
			}
			failed = answer
		}
		if failed != nil {
			return failed
		}
	}
	return nil
}

// answers reports whether a message from a resolver is the response to a query with this id.
func answers(message, query []byte, id [2]byte) bool {
	if len(message) < headerLength || [2]byte(message[:2]) != id || message[2]&0x80 == 0 {
		return false
	}
	// Some servers leave the question out of an error.
	if message[4] == 0 && message[5] == 0 {
		return true
	}
	var p dnsmessage.Parser
	if _, err := p.Start(query); err != nil {
		return false
	}
	asked, err := p.Question()
	if err != nil {
		return false
	}
	if _, err := p.Start(message); err != nil {
		return false
	}
	answered, err := p.Question()
	return err == nil && answered.Type == asked.Type && answered.Class == asked.Class &&
		bytes.EqualFold(answered.Name.Data[:answered.Name.Length], asked.Name.Data[:asked.Name.Length])
}
