package engine

import (
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/core/store"
)

// What the guest is told beside the spec, as only it can look names up, has these annotations when the spec is shown.
const (
	annotationUser   = "com.github.vzctl.user"   // USER[:GROUP] as it was written
	annotationGroups = "com.github.vzctl.groups" // further ones by name, separated by commas
	annotationInit   = "com.github.vzctl.init"   // "true": process 1 is an init process, and args are those of its child
	// As cgroup v2 writes io.max, with the path where a disk is mounted in place of the disk's number, which the guest gives it; a line for each.
	annotationIO = "com.github.vzctl.io.max"
)

// completeSpec puts into a spec what the guest adds to it. The user's numbers are those that are known: with a name they are 0.
func completeSpec(spec *specs.Spec, c store.Container) {
	p := c.Process
	annotate := func(key, value string) {
		if spec.Annotations == nil {
			spec.Annotations = map[string]string{}
		}
		spec.Annotations[key] = value
	}
	if p.User != "" {
		annotate(annotationUser, p.User)
		user, group, _ := strings.Cut(p.User, ":")
		if uid, err := strconv.ParseUint(user, 10, 31); err == nil {
			spec.Process.User.UID = uint32(uid)
		}
		if gid, err := strconv.ParseUint(group, 10, 31); err == nil {
			spec.Process.User.GID = uint32(gid)
		}
	}
	if len(p.Groups) > 0 {
		annotate(annotationGroups, strings.Join(p.Groups, ","))
	}
	if p.Init {
		annotate(annotationInit, "true")
	}
	if io := c.Resources.IO; len(io) > 0 {
		annotate(annotationIO, ioLines(io))
	}
}

func ioLines(limits []store.IOLimit) string {
	word := func(n uint64) string {
		if n == 0 {
			return "max"
		}
		return strconv.FormatUint(n, 10)
	}
	var lines []string
	for _, l := range limits {
		lines = append(lines, l.Path+" rbps="+word(l.ReadBytes)+" wbps="+word(l.WriteBytes)+" riops="+word(l.ReadOperations)+" wiops="+word(l.WriteOperations))
	}
	return strings.Join(lines, "\n")
}
