//go:build !linux

// Command liar runs in the guests, which run Linux.
package main

func main() {}
