//go:build !linux

// Command changes runs in the guests, which run Linux.
package main

func main() {}
