package main

import (
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	_ "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	_ "github.com/vzctl/vzctl/sdk/proto/vzctl/hypervisor/v1"
	_ "github.com/vzctl/vzctl/sdk/proto/vzctl/imagesource/v1"
	_ "github.com/vzctl/vzctl/sdk/proto/vzctl/kernel/v1"
	_ "github.com/vzctl/vzctl/sdk/proto/vzctl/rootfs/v1"
	_ "github.com/vzctl/vzctl/sdk/proto/vzctl/translator/v1"
)

// The text is what reviewers read, the Go is what runs.
func TestTheDescriptorTextIsTheWireOfTheGeneratedCode(t *testing.T) {
	text, err := os.ReadFile("../descriptor.txtpb")
	if err != nil {
		t.Fatal(err)
	}
	var set descriptorpb.FileDescriptorSet
	if err := prototext.Unmarshal(text, &set); err != nil {
		t.Fatal(err)
	}
	if len(set.File) < 9 {
		t.Errorf("only %d files", len(set.File))
	}
	for _, want := range set.File {
		d, err := protoregistry.GlobalFiles.FindFileByPath(want.GetName())
		if err != nil {
			t.Errorf("%s: %v", want.GetName(), err)
			continue
		}
		got := protodesc.ToFileDescriptorProto(d)
		if !proto.Equal(got, want) {
			t.Errorf("%s: descriptor.txtpb and the generated code differ; run make protos", want.GetName())
		}
	}
}

func TestRules(t *testing.T) {
	for _, c := range []struct{ name, file, finding string }{
		{"a good file has no findings", `package: "vzctl.x.v1" name: "vzctl/x/v1/x.proto"`, ""},
		{"a package needs a version", `package: "vzctl.x" name: "vzctl/x/x.proto"`, "is not vzctl.<name>.v<n>"},
		{"a package lies in its directory", `package: "vzctl.x.v1" name: "x.proto"`, "does not lie in its own directory"},
		{"a call has a request of its own", `package: "vzctl.x.v1" name: "vzctl/x/v1/x.proto" message_type { name: "M" } message_type { name: "GetResponse" }
			service { name: "S" method { name: "Get" input_type: ".vzctl.x.v1.M" output_type: ".vzctl.x.v1.GetResponse" } }`, "Get uses M, not a GetRequest of its own"},
		{"a service says what its calls do", `package: "vzctl.x.v1" name: "vzctl/x/v1/x.proto" message_type { name: "GetRequest" } message_type { name: "GetResponse" }
			service { name: "S" method { name: "Get" input_type: ".vzctl.x.v1.GetRequest" output_type: ".vzctl.x.v1.GetResponse" } }`, "service S says nothing"},
		{"zero of an enum is unspecified", `package: "vzctl.x.v1" name: "vzctl/x/v1/x.proto" enum_type { name: "ExitReason" value { name: "EXIT_REASON_GOOD" number: 0 } }`, "not EXIT_REASON_UNSPECIFIED"},
		{"names of an enum begin with its own", `package: "vzctl.x.v1" name: "vzctl/x/v1/x.proto" enum_type { name: "E" value { name: "GOOD" number: 0 } }`, "does not begin with E_"},
		{"there is no success field", `package: "vzctl.x.v1" name: "vzctl/x/v1/x.proto" message_type { name: "M" field { name: "success" number: 1 type: TYPE_BOOL label: LABEL_OPTIONAL } }`, "errors travel as status"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := &descriptorpb.FileDescriptorProto{}
			if err := prototext.Unmarshal([]byte(c.file), file); err != nil {
				t.Fatal(err)
			}
			file.Syntax = proto.String("proto3")
			findings, err := lintSet(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{file}})
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Join(findings, "\n")
			if c.finding == "" && all != "" || !strings.Contains(all, c.finding) {
				t.Errorf("findings are %q", findings)
			}
		})
	}
}
