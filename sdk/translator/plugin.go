package translator

import (
	"context"

	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/sdk"
	translatorv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/translator/v1"
)

// Plugin makes an implementation ready for sdk.Serve.
func Plugin(info sdk.Info, impl Translator) sdk.Plugin {
	return sdk.NewPlugin(sdk.Translator, info, impl, func(r grpc.ServiceRegistrar) {
		translatorv1.RegisterTranslatorServer(r, &server{impl: impl})
	})
}

type server struct {
	translatorv1.UnimplementedTranslatorServer
	impl Translator
}

func (s *server) Plan(ctx context.Context, r *translatorv1.PlanRequest) (*translatorv1.PlanResponse, error) {
	plan, err := s.impl.Plan(ctx, r.GetGuestArch(), r.GetProgramArch())
	if err != nil {
		return nil, err
	}
	return planToProto(plan), nil
}
