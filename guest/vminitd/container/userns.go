package container

import (
	"errors"
	"os"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/guest/idmap"
	"github.com/vzctl/vzctl/guest/vminitd/helper"
	"github.com/vzctl/vzctl/guest/vminitd/launch"
	"github.com/vzctl/vzctl/guest/vminitd/sockets"
	"github.com/vzctl/vzctl/guest/vminitd/userns"
)

// idMaps returns the maps of the user namespace that a spec asks for; nil if it asks for none.
func idMaps(spec *specs.Spec) (*idmap.Maps, error) {
	uids, gids := spec.Linux.UIDMappings, spec.Linux.GIDMappings
	if !slices.ContainsFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace }) {
		if len(uids)+len(gids) > 0 {
			return nil, invalid("read the runtime spec", errors.New("it has linux.uidMappings or gidMappings, and no user namespace"))
		}
		return nil, nil
	}
	maps, err := idmap.New(uids, gids)
	if err != nil {
		return nil, invalid("make the user namespace", err)
	}
	return maps, nil
}

// makeUserNamespace makes the container's, if it has one, with the process in it that becomes its first: its root is mounted with the namespace's ids.
func (c *Container) makeUserNamespace(ids *idmap.Maps, init *helper.Init) error {
	if ids == nil {
		return nil
	}
	if err := init.CheckHanded(); err != nil {
		return err
	}
	var err error
	if c.spare, err = launch.NewIn(c.runtime.reaper, c.group.Directory(), ids, init.Namespaces); err != nil {
		return invalid("make the user namespace", err)
	}
	c.userns, err = userns.Of(c.spare.Pid, ids)
	return err
}

// giveFiles has what vminitd puts over the container's files belong to the container's root, who may give it to others. Other sockets have the owner that was asked for.
func (c *Container) giveFiles(init *helper.Init) error {
	uid, gid := c.userns.IDs().Out(0, 0)
	others := c.sockets.Files()
	for _, f := range init.Files {
		if !f.Owned && slices.Contains(others, f) {
			continue
		}
		if err := os.Chown(f.Source, uid, gid); err != nil {
			return err
		}
	}
	return init.CheckHanded() // there are more than before
}

// handed are the mounts that a first process is given, which the caller closes; none without a user namespace.
func (c *Container) handed(init *helper.Init) ([]*os.File, error) {
	if c.userns == nil || init == nil {
		return nil, nil
	}
	return helper.Hand(init, c.userns)
}

// mappedSockets are sockets with the owners that the machine knows.
func mappedSockets(all []sockets.Socket, ids *idmap.Maps) ([]sockets.Socket, error) {
	if ids == nil {
		return all, nil
	}
	mapped := make([]sockets.Socket, len(all))
	for i, s := range all {
		if err := ids.Check(s.UID, s.GID); err != nil {
			return nil, invalid("make socket "+s.Path, err)
		}
		s.UID, s.GID = ids.Out(s.UID, s.GID)
		mapped[i] = s
	}
	return mapped, nil
}
