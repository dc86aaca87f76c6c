//go:build !linux

// Command circles runs in the guests, which run Linux.
package main

func main() {}
