//go:build !linux

// Command watch runs in the guests, which run Linux.
package main

func main() {}
