package main

import "testing"

func TestSiblingIsATagOfTheSameSource(t *testing.T) {
	const tag = ":vzctl-verify-asks-for-what-is-not-there"
	for reference, want := range map[string]string{
		"busybox":                            "busybox" + tag,
		"busybox:1":                          "busybox" + tag,
		"localhost:5000/busybox":             "localhost:5000/busybox" + tag,
		"localhost:5000/busybox:1@sha256:00": "localhost:5000/busybox" + tag,
		"/dir/layout:tag":                    "/dir/layout" + tag,
	} {
		if got := sibling(reference); got != want {
			t.Errorf("of %s: %s; want %s", reference, got, want)
		}
	}
}
