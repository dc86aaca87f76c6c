// Package ext4 writes and reads ext4 file systems in ordinary files, with no
// help of a kernel or of e2fsprogs.
//
// A [Writer] turns a tree of [Node] into a read-only image: file data streams
// into the image as it arrives, everything else follows at [Writer.Finish].
// [Format] makes an empty writable file system, sparse and in milliseconds.
// A [Reader] opens images, ours or mke2fs's, that may be hostile.
//
// The on-disk format is that of the kernel's Documentation/filesystems/ext4.
// Images always have 4 KiB blocks, 256-byte inodes, extents, 64-byte group
// descriptors, metadata checksums and hash-indexed directories. How layers
// become a tree is the business of package layers; read node.go and writer.go
// first.
package ext4
