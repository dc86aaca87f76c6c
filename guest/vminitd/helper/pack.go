package helper

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"reflect"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// What every process has is packed by hand: to read it as JSON for the first time, as each helper does, takes an emulated machine as long as all else that the helper does
// together. What is left, which is how a root is built, and whatever is not known here, is JSON.

// packed returns what is packed of a configuration, and what is left of it.
func (c Config) packed() (text []byte, rest Config) {
	var p packer
	rest = c
	p.text(c.User)
	p.texts(c.Groups)
	p.flag(c.Supervised)
	p.flag(c.Rehearsal)
	p.number(uint64(len(c.Filters)))
	for _, f := range c.Filters {
		p.number(uint64(len(f.Program)))
		p.number(uint64(f.Flags))
	}
	rest.User, rest.Groups, rest.Supervised, rest.Rehearsal, rest.Filters = "", nil, false, false, nil
	if p.flag(c.Process != nil); c.Process != nil {
		process := *c.Process
		p.process(&process)
		if rest.Process = nil; !reflect.ValueOf(process).IsZero() {
			rest.Process = &process
		}
	}
	return p.packed, rest
}

// process packs what is known of a process, and takes it away from it.
func (p *packer) process(s *specs.Process) {
	p.flag(s.Terminal)
	p.flag(s.NoNewPrivileges)
	p.texts(s.Args)
	p.texts(s.Env)
	p.text(s.Cwd)
	p.number(uint64(s.User.UID))
	p.number(uint64(s.User.GID))
	p.number(uint64(len(s.User.AdditionalGids)))
	for _, gid := range s.User.AdditionalGids {
		p.number(uint64(gid))
	}
	if p.flag(s.User.Umask != nil); s.User.Umask != nil {
		p.number(uint64(*s.User.Umask))
	}
	if p.flag(s.ConsoleSize != nil); s.ConsoleSize != nil {
		p.number(uint64(s.ConsoleSize.Width))
		p.number(uint64(s.ConsoleSize.Height))
	}
	if p.flag(s.Capabilities != nil); s.Capabilities != nil {
		for _, set := range sets(s.Capabilities) {
			p.texts(*set)
		}
	}
	p.number(uint64(len(s.Rlimits)))
	for _, l := range s.Rlimits {
		p.text(l.Type)
		p.number(l.Soft)
		p.number(l.Hard)
	}
	// Of the machine's side, see launch.Request.Prepare: the helper has no use for it.
	s.OOMScoreAdj = nil
	s.Terminal, s.NoNewPrivileges, s.Args, s.Env, s.Cwd, s.Rlimits = false, false, nil, nil, "", nil
	s.User.UID, s.User.GID, s.User.AdditionalGids, s.User.Umask = 0, 0, nil, nil
	s.ConsoleSize, s.Capabilities = nil, nil
}

func sets(c *specs.LinuxCapabilities) []*[]string {
	return []*[]string{&c.Bounding, &c.Effective, &c.Inheritable, &c.Permitted, &c.Ambient}
}

var errPacked = errors.New("the configuration is damaged")

// decodeConfig reads what Encode made, but for the programs.
func decodeConfig(text []byte) (*Config, error) {
	u := unpacker{packed: text}
	packed := u.bytes()
	c := &Config{}
	if rest := u.packed; len(rest) > 0 {
		if err := json.Unmarshal(rest, c); err != nil {
			return nil, err
		}
	}
	u.packed = packed
	c.User = u.text()
	c.Groups = u.texts()
	c.Supervised = u.flag()
	c.Rehearsal = u.flag()
	for range u.count() {
		c.Filters = append(c.Filters, Filter{Size: int(min(u.number(), MaxConfig+1)), Flags: uint32(u.number())})
	}
	if u.flag() {
		if c.Process == nil {
			c.Process = &specs.Process{}
		}
		u.process(c.Process)
	}
	if u.damaged || len(u.packed) > 0 {
		return nil, errPacked
	}
	return c, nil
}

func (u *unpacker) process(s *specs.Process) {
	s.Terminal = u.flag()
	s.NoNewPrivileges = u.flag()
	s.Args = u.texts()
	s.Env = u.texts()
	s.Cwd = u.text()
	s.User.UID = uint32(u.number())
	s.User.GID = uint32(u.number())
	for range u.count() {
		s.User.AdditionalGids = append(s.User.AdditionalGids, uint32(u.number()))
	}
	if u.flag() {
		umask := uint32(u.number())
		s.User.Umask = &umask
	}
	if u.flag() {
		s.ConsoleSize = &specs.Box{Width: uint(u.number()), Height: uint(u.number())}
	}
	if u.flag() {
		s.Capabilities = &specs.LinuxCapabilities{}
		for _, set := range sets(s.Capabilities) {
			*set = u.texts()
		}
	}
	for range u.count() {
		s.Rlimits = append(s.Rlimits, specs.POSIXRlimit{Type: u.text(), Soft: u.number(), Hard: u.number()})
	}
}

// packer appends values one after the other: numbers as varints, texts behind their length.
type packer struct{ packed []byte }

func (p *packer) number(n uint64) { p.packed = binary.AppendUvarint(p.packed, n) }

func (p *packer) flag(f bool) {
	var n uint64
	if f {
		n = 1
	}
	p.number(n)
}

func (p *packer) text(s string) {
	p.number(uint64(len(s)))
	p.packed = append(p.packed, s...)
}

func (p *packer) texts(all []string) {
	p.number(uint64(len(all)))
	for _, s := range all {
		p.text(s)
	}
}

// unpacker takes them out again. Once something is wrong all that follows is zero.
type unpacker struct {
	packed  []byte
	damaged bool
}

func (u *unpacker) number() uint64 {
	n, length := binary.Uvarint(u.packed)
	if length <= 0 {
		u.packed, u.damaged = nil, true
		return 0
	}
	u.packed = u.packed[length:]
	return n
}

func (u *unpacker) flag() bool { return u.number() != 0 }

func (u *unpacker) bytes() []byte {
	n := u.number()
	if n > uint64(len(u.packed)) {
		u.packed, u.damaged = nil, true
		return nil
	}
	taken := u.packed[:n]
	u.packed = u.packed[n:]
	return taken
}

func (u *unpacker) text() string { return string(u.bytes()) }

// count is of values of at least one byte each.
func (u *unpacker) count() uint64 {
	n := u.number()
	if n > uint64(len(u.packed)) {
		u.packed, u.damaged = nil, true
		return 0
	}
	return n
}

func (u *unpacker) texts() (all []string) {
	for range u.count() {
		all = append(all, u.text())
	}
	return all
}
