package engine

import (
	"context"
	"path/filepath"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// ListTemplates returns the booted VMs that the hypervisor plugin keeps to copy others from.
func (e *Engine) ListTemplates(ctx context.Context) (list []hypervisor.Template, err error) {
	err = e.withTemplates(ctx, func(client *hypervisor.Client, cache string) error {
		list, err = client.Templates(ctx, cache)
		return err
	})
	return list, err
}

// RemoveTemplate removes one. VMs that were copied from it go on, and the next of its kind makes it anew.
func (e *Engine) RemoveTemplate(ctx context.Context, id string) error {
	return e.withTemplates(ctx, func(client *hypervisor.Client, cache string) error { return client.RemoveTemplate(ctx, cache, id) })
}

func (e *Engine) withTemplates(ctx context.Context, do func(client *hypervisor.Client, cache string) error) error {
	running, err := e.host.Start(ctx, sdk.Hypervisor, "")
	if err != nil {
		return err
	}
	defer e.closePlugin(running)
	return do(hypervisor.NewClient(running.Conn(), running.Info()), e.store.Paths().Cache(filepath.Base(running.Path)))
}
