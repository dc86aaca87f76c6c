//go:build !linux

package main

// keepInherited has nothing portable to do.
func keepInherited() {}
