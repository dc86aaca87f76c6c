package hypervisor

import (
	"math"
	"regexp"
	"sync"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/vzctl/vzctl/sdk/internal/convert"
	"github.com/vzctl/vzctl/sdk/network"
	hypervisorv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/hypervisor/v1"
)

var states = convert.Enum[State, hypervisorv1.State]{
	Created:  hypervisorv1.State_STATE_CREATED,
	Starting: hypervisorv1.State_STATE_STARTING,
	Running:  hypervisorv1.State_STATE_RUNNING,
	Paused:   hypervisorv1.State_STATE_PAUSED,
	Stopped:  hypervisorv1.State_STATE_STOPPED,
}

var exitReasons = convert.Enum[ExitReason, hypervisorv1.ExitReason]{
	GuestShutdown: hypervisorv1.ExitReason_EXIT_REASON_GUEST_SHUTDOWN,
	GuestPanic:    hypervisorv1.ExitReason_EXIT_REASON_GUEST_PANIC,
	ByRequest:     hypervisorv1.ExitReason_EXIT_REASON_STOPPED,
	Crashed:       hypervisorv1.ExitReason_EXIT_REASON_CRASHED,
}

var stopModes = convert.Enum[StopMode, hypervisorv1.StopMode]{
	Kill:       hypervisorv1.StopMode_STOP_MODE_KILL,
	AwaitGuest: hypervisorv1.StopMode_STOP_MODE_AWAIT_GUEST,
}

func specToProto(s Spec) *hypervisorv1.Spec {
	return &hypervisorv1.Spec{
		Id: s.ID, Arch: s.Arch, Cpus: s.CPUs, MemoryBytes: s.MemoryBytes,
		Kernel:     &hypervisorv1.Kernel{Path: s.Kernel.Path, Format: s.Kernel.Format, CommandLine: s.Kernel.CommandLine},
		InitrdPath: s.InitrdPath, Disks: convert.Slice(s.Disks, diskToProto), Shares: convert.Slice(s.Shares, shareToProto),
		Nics: convert.Slice(s.NICs, nicToProto), ConsolePath: s.ConsolePath, RuntimeDir: s.RuntimeDir, StateDir: s.StateDir,
		NestedVirtualization: s.NestedVirtualization, Rosetta: s.Rosetta, Options: s.Options, CacheDir: s.CacheDir,
	}
}

func specFromProto(s *hypervisorv1.Spec) Spec {
	return Spec{
		ID: s.GetId(), Arch: s.GetArch(), CPUs: s.GetCpus(), MemoryBytes: s.GetMemoryBytes(),
		Kernel:     Kernel{Path: s.GetKernel().GetPath(), Format: s.GetKernel().GetFormat(), CommandLine: s.GetKernel().GetCommandLine()},
		InitrdPath: s.GetInitrdPath(), Disks: convert.Slice(s.GetDisks(), diskFromProto), Shares: convert.Slice(s.GetShares(), shareFromProto),
		NICs: convert.Slice(s.GetNics(), nicFromProto), ConsolePath: s.GetConsolePath(), RuntimeDir: s.GetRuntimeDir(), StateDir: s.GetStateDir(),
		NestedVirtualization: s.GetNestedVirtualization(), Rosetta: s.GetRosetta(), Options: s.GetOptions(), CacheDir: s.GetCacheDir(),
	}
}

func diskToProto(d Disk) *hypervisorv1.Disk {
	out := &hypervisorv1.Disk{Serial: d.Serial, ReadOnly: d.ReadOnly, Lasting: d.Lasting, FileSystem: d.FileSystem, Reads: d.Reads, Fresh: d.Fresh}
	switch {
	case d.File != nil:
		out.Backend = &hypervisorv1.Disk_File{File: &hypervisorv1.FileBackend{Path: d.File.Path, Format: d.File.Format}}
	case d.Block != nil:
		out.Backend = &hypervisorv1.Disk_Block{Block: &hypervisorv1.BlockBackend{Path: d.Block.Path}}
	case d.NBD != nil:
		out.Backend = &hypervisorv1.Disk_Nbd{Nbd: &hypervisorv1.NbdBackend{Url: d.NBD.URL, ReconnectSeconds: d.NBD.ReconnectSeconds}}
	case d.VhostUser != nil:
		out.Backend = &hypervisorv1.Disk_VhostUser{VhostUser: &hypervisorv1.VhostUserBackend{SocketPath: d.VhostUser.SocketPath}}
	}
	return out
}

func diskFromProto(d *hypervisorv1.Disk) Disk {
	out := Disk{Serial: d.GetSerial(), ReadOnly: d.GetReadOnly(), Lasting: d.GetLasting(), FileSystem: d.GetFileSystem(), Reads: d.GetReads(), Fresh: d.GetFresh()}
	switch b := d.GetBackend().(type) {
	case *hypervisorv1.Disk_File:
		out.File = &FileBackend{Path: b.File.GetPath(), Format: b.File.GetFormat()}
	case *hypervisorv1.Disk_Block:
		out.Block = &BlockBackend{Path: b.Block.GetPath()}
	case *hypervisorv1.Disk_Nbd:
		out.NBD = &NBDBackend{URL: b.Nbd.GetUrl(), ReconnectSeconds: b.Nbd.GetReconnectSeconds()}
	case *hypervisorv1.Disk_VhostUser:
		out.VhostUser = &VhostUserBackend{SocketPath: b.VhostUser.GetSocketPath()}
	}
	return out
}

func shareToProto(s Share) *hypervisorv1.Share {
	return &hypervisorv1.Share{Tag: s.Tag, Path: s.Path, ReadOnly: s.ReadOnly, Type: s.Type, Ownership: s.Ownership}
}

func shareFromProto(s *hypervisorv1.Share) Share {
	return Share{Tag: s.GetTag(), Path: s.GetPath(), ReadOnly: s.GetReadOnly(), Type: s.GetType(), Ownership: s.GetOwnership()}
}

func nicToProto(n NIC) *hypervisorv1.Nic {
	return &hypervisorv1.Nic{Id: n.ID, Mac: n.MAC, Mtu: n.MTU, Link: network.LinkToProto(n.Link)}
}

func nicFromProto(n *hypervisorv1.Nic) NIC {
	return NIC{ID: n.GetId(), MAC: n.GetMac(), MTU: n.GetMtu(), Link: network.LinkFromProto(n.GetLink())}
}

func deviceToProto(d Device) *hypervisorv1.Device {
	out := &hypervisorv1.Device{Id: d.ID}
	switch {
	case d.Disk != nil:
		out.Device = &hypervisorv1.Device_Disk{Disk: diskToProto(*d.Disk)}
	case d.Share != nil:
		out.Device = &hypervisorv1.Device_Share{Share: shareToProto(*d.Share)}
	case d.NIC != nil:
		out.Device = &hypervisorv1.Device_Nic{Nic: nicToProto(*d.NIC)}
	}
	return out
}

func deviceFromProto(d *hypervisorv1.Device) Device {
	out := Device{ID: d.GetId()}
	switch v := d.GetDevice().(type) {
	case *hypervisorv1.Device_Disk:
		disk := diskFromProto(v.Disk)
		out.Disk = &disk
	case *hypervisorv1.Device_Share:
		share := shareFromProto(v.Share)
		out.Share = &share
	case *hypervisorv1.Device_Nic:
		nic := nicFromProto(v.Nic)
		out.NIC = &nic
	}
	return out
}

func vmToProto(v VM) *hypervisorv1.VM {
	out := &hypervisorv1.VM{Id: v.ID, State: states.ToWire(v.State), VsockPath: v.VsockPath, Accelerator: v.Accelerator, Pid: v.PID,
		Cloned: v.Cloned}
	if v.Exit != nil {
		out.Exit = &hypervisorv1.Exit{Reason: exitReasons.ToWire(v.Exit.Reason), Message: v.Exit.Message}
		if !v.Exit.Time.IsZero() {
			out.Exit.Time = timestamppb.New(v.Exit.Time)
		}
	}
	return out
}

// vmFromProto checks what a plugin answered about the VM with the id; an empty id is any.
func vmFromProto(check *convert.Checks, v *hypervisorv1.VM, id string) VM {
	out := VM{
		ID: v.GetId(), State: states.FromWire(v.GetState()), VsockPath: check.Socket("vsock path", v.GetVsockPath()),
		Accelerator: v.GetAccelerator(), PID: v.GetPid(), Cloned: v.GetCloned(),
	}
	if id != "" && out.ID != id {
		check.Fail("VM", out.ID, "and VM \""+id+"\" was asked for")
	}
	if out.State == "" {
		check.Fail("state", v.GetState().String(), "which is unknown here")
	}
	if e := v.GetExit(); e != nil {
		out.Exit = &Exit{Reason: exitReasons.FromWire(e.GetReason()), Message: e.GetMessage()}
		if e.GetTime() != nil {
			out.Exit.Time = e.GetTime().AsTime()
		}
	}
	return out
}

func templateToProto(t Template) *hypervisorv1.Template {
	return &hypervisorv1.Template{Id: t.ID, Description: t.Description, SizeBytes: t.SizeBytes, Made: timestamppb.New(t.Made), Used: timestamppb.New(t.Used),
		Damaged: t.Damaged}
}

func verifiedToProto(v VerifiedTemplate) *hypervisorv1.VerifyTemplateResponse {
	return &hypervisorv1.VerifyTemplateResponse{Damage: v.Damage, Compared: v.Compared}
}

func verifiedFromProto(v *hypervisorv1.VerifyTemplateResponse) VerifiedTemplate {
	return VerifiedTemplate{Damage: v.GetDamage(), Compared: v.GetCompared()}
}

var templateID = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`) })

// templateFromProto checks what a plugin answered: ids are printed as they are.
func templateFromProto(check *convert.Checks, t *hypervisorv1.Template) Template {
	if !templateID().MatchString(t.GetId()) {
		check.Fail("template", t.GetId(), "which is no id")
	}
	if t.GetSizeBytes() > math.MaxInt64 {
		check.Fail("size of template", t.GetId(), "which is more than any disk has")
	}
	return Template{ID: t.GetId(), Description: t.GetDescription(), SizeBytes: t.GetSizeBytes(), Made: t.GetMade().AsTime(), Used: t.GetUsed().AsTime(),
		Damaged: t.GetDamaged()}
}
