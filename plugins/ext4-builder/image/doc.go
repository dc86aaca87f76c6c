// Package image builds the ext4 image of an OCI image that lies in a layout
// directory: manifest and configuration are read and checked, the layers
// streamed through package layers into an ext4.Writer.
package image
