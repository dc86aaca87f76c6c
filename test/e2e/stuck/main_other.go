//go:build !linux

// Command stuck runs in the guests, which run Linux.
package main

func main() {}
