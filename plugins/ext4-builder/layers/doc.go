// Package layers turns the layers of an OCI image into one file tree.
//
// [Open] streams one layer blob: it decompresses ahead of its reader and
// checks size, digest and diffID on the way. [Tree.Apply] reads the tar in it
// and merges it onto the layers below, as the section "Applying" of the OCI image
// specification's layer.md says. File content goes to a [Store] as it passes
// by and never stays in memory.
//
// Where the specification is silent a layer does what it does under overlayfs, on
// which images are made and tested: a directory of an upper layer replaces a
// symbolic link of a lower one, while links within a layer are followed.
package layers
