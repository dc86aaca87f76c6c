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
)

// completeSpec puts into a spec what the guest adds to it. The user's numbers are those that are known: with a name they are 0.
func completeSpec(spec *specs.Spec, p store.Process) {
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
}
