// Package overlay looks at ordered ext4 disks as Linux's overlayfs would merge
// them, without mounting anything: whiteouts, opaque and redirected
// directories, files of which only the metadata was copied up, and the index of
// hard links. [Tar] writes the merged tree as a tar archive.
//
// What is on the disks may be hostile; like ext4.Reader, a View ends and does
// not panic whatever it finds.
package overlay
