package translator

import (
	"context"

	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/internal/convert"
	translatorv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/translator/v1"
)

// Client is a translator in another process.
type Client struct {
	rpc translatorv1.TranslatorClient
}

var _ Translator = (*Client)(nil)

// NewClient returns the translator at the other end of a connection from package launch or plugintest. Paths it answers are absolute and clean.
func NewClient(conn grpc.ClientConnInterface, _ sdk.Info) *Client {
	return &Client{rpc: translatorv1.NewTranslatorClient(conn)}
}

// Plan implements Translator.
func (c *Client) Plan(ctx context.Context, guestArch, programArch string) (Plan, error) {
	r, err := c.rpc.Plan(ctx, &translatorv1.PlanRequest{GuestArch: guestArch, ProgramArch: programArch})
	if err != nil {
		return Plan{}, err
	}
	check := convert.Answer()
	plan := planFromProto(check, r)
	return plan, check.Err()
}
