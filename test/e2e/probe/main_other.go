//go:build !linux

// Command probe runs in the guests, which run Linux.
package main

func main() {}
