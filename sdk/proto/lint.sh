#!/bin/sh
# Checks the rules of our protos (see sdk/proto/lint) and that generated files are fresh.
set -eu
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
includes=""
files=""
for root in sdk/proto guest/proto core/proto; do
	[ -d "$root" ] || continue
	includes="$includes -I $root"
	files="$files $(find "$root" -name '*.proto' | LC_ALL=C sort)"
done
# shellcheck disable=SC2086 # both are lists
protoc $includes --include_source_info --descriptor_set_out="$work/set.binpb" $files
go run ./sdk/proto/lint "$work/set.binpb"
sh sdk/proto/generate.sh --check
