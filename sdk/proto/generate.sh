#!/bin/sh
# Writes the generated Go beside every .proto, and the wire contract as text into sdk/proto/descriptor.txtpb. The same input gives the same bytes:
# the generators come from tools/go.mod; protoc and its well-known types from Debian (protobuf-compiler, libprotobuf-dev).
# With --check nothing is written: it fails if what is checked in is stale.
set -eu
cd "$(dirname "$0")/../.."

command -v protoc >/dev/null || { echo "generate.sh: protoc is missing; apt-get install protobuf-compiler libprotobuf-dev" >&2; exit 1; }

roots="sdk/proto guest/proto core/proto"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

(cd tools && go build -o "$work/" google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc)

includes=""
files=""
for root in $roots; do
	[ -d "$root" ] || continue
	includes="$includes -I $root"
	files="$files $(find "$root" -name '*.proto' | LC_ALL=C sort)"
done

out="$work/out"
mkdir "$out"
# shellcheck disable=SC2086 # both are lists
PATH="$work:$PATH" protoc $includes \
	--go_out="$out" --go_opt=module=github.com/vzctl/vzctl \
	--go-grpc_out="$out" --go-grpc_opt=module=github.com/vzctl/vzctl $files

# The text is protoc's own: Go's prototext is not meant to be stable. Only what others build upon is in it.
public=$(find sdk/proto guest/proto -name '*.proto' | LC_ALL=C sort)
# shellcheck disable=SC2086
protoc -I sdk/proto -I guest/proto --descriptor_set_out="$work/set.binpb" $public
mkdir -p "$out/sdk/proto"
{
	echo "# proto-file: google/protobuf/descriptor.proto"
	echo "# proto-message: google.protobuf.FileDescriptorSet"
	echo "# Made by generate.sh, for review: every change of the wire shows here."
	protoc --decode=google.protobuf.FileDescriptorSet google/protobuf/descriptor.proto <"$work/set.binpb"
} >"$out/sdk/proto/descriptor.txtpb"

stale=0
for made in $(cd "$out" && find . -type f | LC_ALL=C sort); do
	cmp -s "$out/$made" "$made" && continue
	if [ "${1:-}" = --check ]; then
		echo "generate.sh: ${made#./} is stale; run make protos" >&2
		stale=1
	else
		mkdir -p "$(dirname "$made")"
		cp "$out/$made" "$made"
		echo "wrote ${made#./}"
	fi
done
exit $stale
