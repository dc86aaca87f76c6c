#!/bin/sh
# Builds the guest kernel, or takes it from the cache. README.md says why each step is there.
#
#   kernel/build.sh [--arch x86_64|arm64] [--source DIR|TARBALL] [--out DIR] [--jobs N] [--check]
#   kernel/build.sh --foreign CONFIG --name NAME ...     another project's whole .config, for comparison
#
# Leaves <out>/<arch>/vmlinux and <out>/<arch>/kernel.json; prints that directory's kernel as the last line of stdout.
# --check stops after the configuration: every requested option must have come true. --key only names the cache entry.
# Environment: KERNEL_SRC (as --source), VZCTL_KERNEL_CACHE, CROSS_COMPILE.
set -eu

# What a stranger gets who has neither Debian's source package nor a tree of his own. The hash is the one kernel.org signs.
KERNEL_ORG_VERSION=6.1.183
KERNEL_ORG_SHA256=362d07fe4938c415ce651aefee063a5c4151109b39c97be039bbaa8312ffc0e2

# Raise when this script changes what comes out for the same configuration and source.
RECIPE=1

here=$(cd "$(dirname "$0")" && pwd)
cache=${VZCTL_KERNEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vzctl/kernels}
source=${KERNEL_SRC:-}
arch=$(uname -m)
out=
jobs=$(getconf _NPROCESSORS_ONLN)
name=vzctl
foreign=
check=
print_key=

say() { printf 'kernel: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
sha256() { sha256sum "$@" | cut -d' ' -f1; }

while [ $# -gt 0 ]; do
	case $1 in
	--check) check=yes; shift; continue ;;
	--key) print_key=yes; shift; continue ;;
	--arch | --source | --out | --jobs | --foreign | --name) [ $# -ge 2 ] || die "$1 needs a value" ;;
	*) die "unknown argument \"$1\"; usage is at the top of $0" ;;
	esac
	case $1 in
	--arch) arch=$2 ;;
	--source) source=$2 ;;
	--out) out=$2 ;;
	--jobs) jobs=$2 ;;
	--foreign) foreign=$2 ;;
	--name) name=$2 ;;
	esac
	shift 2
done

case $arch in
x86_64 | amd64) arch=x86_64 karch=x86 cross=x86_64-linux-gnu- target=vmlinux format=elf-pvh ;;
arm64 | aarch64) arch=arm64 karch=arm64 cross=aarch64-linux-gnu- target=Image format=raw ;;
*) die "no configuration for architecture \"$arch\"; there are x86_64 and arm64" ;;
esac
# A compiler is only foreign on a machine of another architecture.
case $(uname -m)/$arch in
x86_64/x86_64 | aarch64/arm64) cross=${CROSS_COMPILE:-} ;;
*) cross=${CROSS_COMPILE:-$cross} ;;
esac
out=${out:-$here/../build/kernels}

# --- which source -------------------------------------------------------------------------------------------------

find_source() {
	[ -n "$source" ] && return
	for source in /usr/src/linux-source-6.1.tar.*; do
		[ -f "$source" ] && return
	done
	source=$cache/sources/linux-$KERNEL_ORG_VERSION.tar.xz
	[ -f "$source" ] && return
	url=https://cdn.kernel.org/pub/linux/kernel/v6.x/linux-$KERNEL_ORG_VERSION.tar.xz
	say "no linux-source-6.1 in /usr/src and no KERNEL_SRC: fetching $url"
	mkdir -p "$cache/sources"
	partial=$source.$$
	curl -fsSL --connect-timeout 20 -o "$partial" "$url" || {
		rm -f "$partial"
		die "cannot fetch the kernel source; install Debian's linux-source-6.1 or set KERNEL_SRC to a tree or tarball"
	}
	[ "$(sha256 "$partial")" = "$KERNEL_ORG_SHA256" ] || {
		rm -f "$partial"
		die "$url does not have the pinned SHA-256 $KERNEL_ORG_SHA256"
	}
	mv "$partial" "$source"
}

# The source's identity. Hashing 130 MB takes most of a second, so a tarball's hash is remembered by name, size and time;
# a tree is known by the names, sizes and times of its files.
source_id() {
	if [ -d "$source" ]; then
		[ -f "$source/Kconfig" ] || die "\"$source\" is not a kernel source tree: it has no Kconfig"
		(cd "$source" && find . -name .git -prune -o -type f -printf '%p %s %T@\n' | LC_ALL=C sort) | sha256
		return
	fi
	[ -f "$source" ] || die "kernel source \"$source\" does not exist"
	memo=$cache/sources/$(stat -L -c '%n %s %Y %i' "$source" | sha256)
	if [ ! -s "$memo" ]; then
		mkdir -p "$cache/sources"
		sha256 "$source" >"$memo.$$"
		mv "$memo.$$" "$memo"
	fi
	cat "$memo"
}

# --- which configuration --------------------------------------------------------------------------------------------

if [ -n "$foreign" ]; then
	[ -f "$foreign" ] || die "configuration \"$foreign\" does not exist"
	fragments=$foreign
else
	fragments="$here/config/common.config $here/config/$arch.config"
fi

# configure TREE OBJECTS: everything the fragments do not name is off, as in tinyconfig; then looks at what became of them.
# A foreign configuration is complete: what it lacks takes this source's default.
configure() {
	if [ -n "$foreign" ]; then
		cp "$foreign" "$2/.config"
		kmake "$1" "$2" olddefconfig
		return
	fi
	# shellcheck disable=SC2086 # a list of files
	cat "$1/kernel/configs/tiny-base.config" $fragments >"$2/requested"
	kmake "$1" "$2" "KCONFIG_ALLCONFIG=$2/requested" allnoconfig
	# shellcheck disable=SC2086
	cat $fragments | awk -v config="$2/.config" '
		function off(line) { return line ~ /^# CONFIG_[A-Za-z0-9_]+ is not set$/ }
		BEGIN {
			while ((getline line < config) > 0)
				if (line ~ /^CONFIG_/) { is[substr(line, 1, index(line, "=") - 1)] = line }
		}
		/^CONFIG_/ {
			option = substr($0, 1, index($0, "=") - 1)
			if (is[option] != $0) { print "  " $0 ", but it is " (option in is && is[option] != "" ? is[option] : "off or unknown"); bad++ }
		}
		off($0) && ($2 in is) && is[$2] != "" { print "  " $2 " off, but it is " is[$2]; bad++ }
		END { exit bad > 0 }
	' >"$2/refused" || {
		say "these requested options did not come true in $source:"
		cat "$2/refused" >&2
		die "a dependency is missing, or this kernel does not have the option"
	}
}

# No time, user, host or path of the builder in the result.
kmake() {
	tree=$1 objects=$2
	shift 2
	make -s -C "$tree" O="$objects" ARCH="$karch" CROSS_COMPILE="$cross" \
		KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970' KBUILD_BUILD_USER=vzctl KBUILD_BUILD_HOST=vzctl \
		KBUILD_BUILD_VERSION=1 "$@" >>"$work/log" 2>&1 || {
		grep -E 'error|Error|not found|No such' "$work/log" | tail -5 >&2
		keep=yes
		die "make $* failed; the whole log is $work/log"
	}
}

find_source
source_hash=$(source_id)
# shellcheck disable=SC2086
config_hash=$(cat $fragments | sha256)
# A tree is somebody's, and stays as it is; another project's kernel is as that has it.
patches=
[ -n "$foreign" ] || [ -d "$source" ] || [ ! -d "$here/patches" ] || patches=$(find "$here/patches" -name '*.patch' | LC_ALL=C sort)
# shellcheck disable=SC2086
patches_hash=$([ -z "$patches" ] || cat $patches | sha256)
key=$(printf '%s\n' "$RECIPE" "$arch" "$name" "$config_hash" "$source_hash" $patches_hash | sha256 | cut -c1-32)
entry=$cache/$key
if [ -n "$print_key" ]; then
	printf '%s\n' "$entry"
	exit 0
fi

# --- build ----------------------------------------------------------------------------------------------------------

build() {
	keep=
	mkdir -p "$cache"
	work=$(mktemp -d "$cache/building.XXXXXX")
	trap '[ -n "$keep" ] || rm -rf "$work"' EXIT
	trap 'exit 130' INT TERM HUP
	for tool in make flex bison bc patch "${cross}gcc"; do
		command -v "$tool" >/dev/null || die "\"$tool\" is missing; \"make deps\" installs what a kernel build needs"
	done
	mkdir "$work/objects" "$work/entry"
	if [ -d "$source" ]; then
		tree=$(cd "$source" && pwd)
		[ -n "$foreign" ] || say "$source is taken as it is, without the patches in $here/patches"
	else
		say "unpacking $source"
		mkdir "$work/source"
		tar -xf "$source" -C "$work/source" --strip-components=1
		tree=$work/source
		for file in $patches; do
			patch -s -f -F0 -p1 -d "$tree" <"$file" >&2 || die "$file does not fit $source; unpack it, and give the tree, to have it built without"
		done
	fi
	configure "$tree" "$work/objects"
	say "$(grep -c '=y' "$work/objects/.config") options on, every requested one among them"
	[ -z "$check" ] || exit 0

	say "building $name for $arch with $jobs jobs; from cold this takes 5 to 12 minutes on two cores"
	begun=$(date +%s)
	if [ "$target" = Image ]; then
		kmake "$tree" "$work/objects" -j"$jobs" Image
		cp "$work/objects/arch/arm64/boot/Image" "$work/entry/vmlinux"
	else
		kmake "$tree" "$work/objects" -j"$jobs" vmlinux
		# Symbols go, the PVH note stays: it is in an allocated section.
		"${cross}strip" -s -o "$work/entry/vmlinux" "$work/objects/vmlinux"
		# A foreign kernel without PVH boots as a bzImage only.
		if [ -n "$foreign" ]; then
			kmake "$tree" "$work/objects" -j"$jobs" bzImage
			cp "$work/objects/arch/x86/boot/bzImage" "$work/entry/bzImage"
		fi
	fi
	cp "$work/objects/.config" "$work/entry/config"
	cp "$work/objects/include/config/kernel.release" "$work/entry/version"
	sha256 "$work/entry/vmlinux" >"$work/entry/sha256"
	rm -rf "$entry"
	mv "$work/entry" "$entry"
	say "built in $(($(date +%s) - begun)) s, cached as $entry"
}

if [ -n "$check" ]; then
	build
elif [ ! -f "$entry/sha256" ]; then
	mkdir -p "$cache"
	# One build of a key at a time; whoever waited finds it done.
	exec 9>"$cache/$key.lock"
	flock -n 9 || {
		say "waiting for another build of the same kernel"
		flock 9
	}
	if [ ! -f "$entry/sha256" ]; then
		build
	fi
	exec 9>&-
else
	say "$name for $arch is cached as $entry"
fi

# --- install --------------------------------------------------------------------------------------------------------

# The description last: who finds kernel.json finds its kernel.
cmdline=
[ -n "$foreign" ] || cmdline=$(grep -v '^#' "$here/config/$arch.cmdline" | tr -s '\n' ' ' | sed 's/ $//')
dir=$out/$arch
mkdir -p "$dir"
cp "$entry/vmlinux" "$dir/.vmlinux.$$"
mv "$dir/.vmlinux.$$" "$dir/vmlinux"
if [ -f "$entry/bzImage" ]; then
	cp "$entry/bzImage" "$dir/.bzImage.$$"
	mv "$dir/.bzImage.$$" "$dir/bzImage"
fi
cat >"$dir/.kernel.json.$$" <<JSON
{
  "name": "$name",
  "version": "$(cat "$entry/version")",
  "arch": "$arch",
  "format": "$format",
  "path": "vmlinux",
  "sha256": "$(cat "$entry/sha256")",
  "cmdline": "$cmdline",
  "configHash": "$config_hash"
}
JSON
mv "$dir/.kernel.json.$$" "$dir/kernel.json"
printf '%s\n' "$dir/vmlinux"
