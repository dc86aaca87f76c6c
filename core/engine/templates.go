package engine

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// ListTemplates returns the booted VMs that the hypervisor plugin keeps to copy others from.
func (e *Engine) ListTemplates(ctx context.Context) (list []hypervisor.Template, err error) {
	err = e.withTemplates(ctx, "", func(client *hypervisor.Client, cache string) error {
		list, err = client.Templates(ctx, cache)
		return err
	})
	return list, err
}

// RemoveTemplate removes one. VMs that were copied from it go on, and the next of its kind makes it anew.
func (e *Engine) RemoveTemplate(ctx context.Context, id string) error {
	return e.withTemplates(ctx, "", func(client *hypervisor.Client, cache string) error { return client.RemoveTemplate(ctx, cache, id) })
}

// VerifyTemplates has all of each template read and compared with its digest. Damaged ones are removed.
func (e *Engine) VerifyTemplates(ctx context.Context) (all []VerifiedTemplate, err error) {
	err = e.withTemplates(ctx, "", func(client *hypervisor.Client, cache string) error {
		list, err := client.Templates(ctx, cache)
		if err != nil {
			return err
		}
		for _, t := range list {
			verified, err := client.VerifyTemplate(ctx, cache, t.ID)
			if errors.Is(err, fault.NotFound) {
				continue // somebody has removed it
			}
			if err != nil {
				return err
			}
			all = append(all, VerifiedTemplate{t, verified})
		}
		return nil
	})
	return all, err
}

// withTemplates starts the hypervisor plugin that is chosen, "" for the default, and calls do with it and with where it keeps templates.
func (e *Engine) withTemplates(ctx context.Context, choice string, do func(client *hypervisor.Client, cache string) error) error {
	running, err := e.host.Start(ctx, sdk.Hypervisor, choice)
	if err != nil {
		return err
	}
	defer e.closePlugin(running)
	return do(hypervisor.NewClient(running.Conn(), running.Info()), e.store.Paths().Cache(filepath.Base(running.Path)))
}
