package kernel

import (
	"github.com/vzctl/vzctl/sdk/internal/convert"
	kernelv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/kernel/v1"
)

func kernelToProto(k Kernel) *kernelv1.Kernel {
	return &kernelv1.Kernel{
		Name: k.Name, Path: k.Path, Format: k.Format, Version: k.Version, Arch: k.Arch, CommandLine: k.CommandLine, Sha256: k.SHA256,
		DependsOn: k.DependsOn,
	}
}

func kernelFromProto(check *convert.Checks, k *kernelv1.Kernel) Kernel {
	return Kernel{
		Name: k.GetName(), Path: check.Path("kernel", k.GetPath()), Format: k.GetFormat(), Version: k.GetVersion(), Arch: k.GetArch(),
		CommandLine: k.GetCommandLine(), SHA256: k.GetSha256(),
		DependsOn: convert.Slice(k.GetDependsOn(), func(path string) string { return check.Path("dependency", path) }),
	}
}

func ensureToProto(r EnsureRequest) *kernelv1.EnsureRequest {
	return &kernelv1.EnsureRequest{Arch: r.Arch, Flavour: r.Flavour, Reference: r.Reference, CacheDir: r.CacheDir}
}

func ensureFromProto(r *kernelv1.EnsureRequest) EnsureRequest {
	return EnsureRequest{Arch: r.GetArch(), Flavour: r.GetFlavour(), Reference: r.GetReference(), CacheDir: r.GetCacheDir()}
}
