// Command lint checks the rules of our protos in a descriptor set made with --include_source_info: what a compiler does not mind and a plugin's author does.
// It prints one line a finding and fails if there is one. The rules are in rules.go.
package main

import (
	"fmt"
	"os"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	_ "google.golang.org/protobuf/types/known/timestamppb"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: lint DESCRIPTOR-SET")
		os.Exit(2)
	}
	findings, err := lintFile(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "lint:", err)
		os.Exit(2)
	}
	for _, f := range findings {
		fmt.Println(f)
	}
	if len(findings) > 0 {
		os.Exit(1)
	}
}

func lintFile(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("%q is no descriptor set: %w", path, err)
	}
	return lintSet(&set)
}

func lintSet(set *descriptorpb.FileDescriptorSet) ([]string, error) {
	resolver := &withWellKnown{}
	var findings []string
	for _, f := range set.GetFile() {
		d, err := protodesc.NewFile(f, resolver)
		if err != nil {
			return nil, err
		}
		if err := resolver.RegisterFile(d); err != nil {
			return nil, err
		}
		findings = append(findings, lint(d)...)
	}
	return findings, nil
}

// location is "file:line" of a descriptor.
func location(d protoreflect.Descriptor) string {
	file := d.ParentFile()
	return fmt.Sprintf("%s:%d", file.Path(), file.SourceLocations().ByDescriptor(d).StartLine+1)
}
