//go:build !linux

// Command handles runs in the guests, which run Linux.
package main

func main() {}
