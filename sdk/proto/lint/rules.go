package main

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode"

	"google.golang.org/protobuf/reflect/protoreflect"
)

var packageName = regexp.MustCompile(`^vzctl\.[a-z]+\.v[0-9]+$`)

// lint returns what is wrong with a file, as "file:line: what".
func lint(file protoreflect.FileDescriptor) []string {
	l := &linter{}
	l.check(packageName.MatchString(string(file.Package())), file, "package %s is not vzctl.<name>.v<n>", file.Package())
	l.check(path.Dir(file.Path()) == strings.ReplaceAll(string(file.Package()), ".", "/"), file, "package %s does not lie in its own directory", file.Package())
	seen := map[protoreflect.FullName]string{}
	for i := range file.Services().Len() {
		s := file.Services().Get(i)
		for j := range s.Methods().Len() {
			l.method(s.Methods().Get(j), seen)
		}
		l.check(l.commented(s) || l.anyCommented(s), s, "service %s says nothing of its calls", s.Name())
	}
	l.enums(file.Enums())
	l.messages(file.Messages())
	return l.findings
}

type linter struct{ findings []string }

func (l *linter) check(ok bool, d protoreflect.Descriptor, format string, values ...any) {
	if !ok {
		l.findings = append(l.findings, location(d)+": "+fmt.Sprintf(format, values...))
	}
}

// method: requests and responses of its own, so that each may grow; not even two calls share one.
func (l *linter) method(m protoreflect.MethodDescriptor, seen map[protoreflect.FullName]string) {
	for _, part := range []struct {
		message protoreflect.MessageDescriptor
		want    string
	}{{m.Input(), string(m.Name()) + "Request"}, {m.Output(), string(m.Name()) + "Response"}} {
		l.check(string(part.message.Name()) == part.want && part.message.ParentFile().Package() == m.ParentFile().Package(), m,
			"%s uses %s, not a %s of its own", m.Name(), part.message.Name(), part.want)
		other, taken := seen[part.message.FullName()]
		l.check(!taken, m, "%s shares %s with %s", m.Name(), part.message.Name(), other)
		seen[part.message.FullName()] = string(m.Name())
	}
}

func (l *linter) enums(enums protoreflect.EnumDescriptors) {
	for i := range enums.Len() {
		e := enums.Get(i)
		prefix := upperSnake(string(e.Name())) + "_"
		for j := range e.Values().Len() {
			v := e.Values().Get(j)
			l.check(strings.HasPrefix(string(v.Name()), prefix), v, "%s does not begin with %s", v.Name(), prefix)
			l.check(v.Number() != 0 || string(v.Name()) == prefix+"UNSPECIFIED", v, "zero of %s is %s, not %sUNSPECIFIED", e.Name(), v.Name(), prefix)
		}
	}
}

func (l *linter) messages(messages protoreflect.MessageDescriptors) {
	for i := range messages.Len() {
		m := messages.Get(i)
		l.enums(m.Enums())
		l.messages(m.Messages())
		for j := range m.Fields().Len() {
			f := m.Fields().Get(j)
			name := string(f.Name())
			l.check(name == strings.ToLower(name), f, "field %s is not in lower case", name)
			l.check(!(name == "success" || strings.HasSuffix(name, "_json")), f, "field %s: errors travel as status, and structure as messages", name)
		}
	}
}

func (l *linter) commented(d protoreflect.Descriptor) bool {
	return strings.TrimSpace(d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments) != ""
}

// anyCommented: the calls of a small service may say it all.
func (l *linter) anyCommented(s protoreflect.ServiceDescriptor) bool {
	for i := range s.Methods().Len() {
		if !l.commented(s.Methods().Get(i)) {
			return false
		}
	}
	return true
}

// upperSnake makes "ExitReason" into "EXIT_REASON".
func upperSnake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToUpper(r))
	}
	return b.String()
}
