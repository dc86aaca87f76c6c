package translator

import (
	"github.com/vzctl/vzctl/sdk/internal/convert"
	translatorv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/translator/v1"
)

func planToProto(p Plan) *translatorv1.PlanResponse {
	out := &translatorv1.PlanResponse{Binfmt: &translatorv1.Binfmt{
		Name: p.Binfmt.Name, Offset: p.Binfmt.Offset, Magic: p.Binfmt.Magic, Mask: p.Binfmt.Mask, Flags: p.Binfmt.Flags,
	}}
	switch {
	case p.Share != nil:
		out.Source = &translatorv1.PlanResponse_Share{Share: &translatorv1.Share{HostPath: p.Share.HostPath, Interpreter: p.Share.Interpreter}}
	case p.File != nil:
		out.Source = &translatorv1.PlanResponse_File{File: &translatorv1.File{HostPath: p.File.HostPath}}
	case p.Rosetta != nil:
		out.Source = &translatorv1.PlanResponse_Rosetta{Rosetta: &translatorv1.Rosetta{}}
	}
	return out
}

func planFromProto(check *convert.Checks, r *translatorv1.PlanResponse) Plan {
	b := r.GetBinfmt()
	out := Plan{Binfmt: Binfmt{Name: b.GetName(), Offset: b.GetOffset(), Magic: b.GetMagic(), Mask: b.GetMask(), Flags: b.GetFlags()}}
	switch s := r.GetSource().(type) {
	case *translatorv1.PlanResponse_Share:
		out.Share = &Share{HostPath: check.Path("share", s.Share.GetHostPath()), Interpreter: s.Share.GetInterpreter()}
	case *translatorv1.PlanResponse_File:
		out.File = &File{HostPath: check.Path("interpreter", s.File.GetHostPath())}
	case *translatorv1.PlanResponse_Rosetta:
		out.Rosetta = &Rosetta{}
	default:
		check.Fail("plan", out.Binfmt.Name, "which has no source known here")
	}
	return out
}
