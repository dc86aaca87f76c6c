#!/bin/sh
# Compares our kernel's boot with a peer's configuration built from the same source.
#
#   kernel/bench/compare.sh [PEER_CONFIG] [bench flags]
#
# PEER_CONFIG is a whole .config of another project; it is built once, which
# takes about 12 minutes, and found in the kernel cache afterwards. Without the argument and without a cached one, only
# our own kernel is measured.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here/.."
cache=${VZCTL_KERNEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vzctl/kernels}
peer=$cache/foreign/peer

if [ $# -gt 0 ] && [ -f "$1" ]; then
	kernel/build.sh --arch x86_64 --foreign "$1" --name peer --out "$peer" >&2
	shift
fi
ours=$(kernel/build.sh --arch x86_64)
exec go run ./kernel/bench "$@" "vzctl=$ours" "peer=$peer/x86_64/bzImage"
