package idmap

import "testing"

// oneOf has 16 users and groups, which are the machine's from 100000, 0x186a0, on.
var oneOf = &Maps{Map{line(0, 100000, 16)}, Map{line(0, 100000, 16)}}

func TestCapabilitiesOfFilesAreOfTheirRoot(t *testing.T) {
	const words = "\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	const disk, mine, others = "\x01\x00\x00\x02" + words, "\x01\x00\x00\x03" + words + "\xa0\x86\x01\x00", "\x01\x00\x00\x03" + words + "\xa1\x86\x01\x00"
	checkAttribute(t, "security.capability", disk, mine)
	for _, value := range []string{"", "\x01", others, disk[:19], mine + "\x00"} {
		checkAttribute(t, "security.capability", value, value)
	}
	checkAttribute(t, "user.note", disk, disk)
}

func TestListsOfWhoMayHaveTheirIds(t *testing.T) {
	list := func(user, group string) string {
		return "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00" + user + "\x04\x00\x04\x00\xff\xff\xff\xff" + "\x08\x00\x04\x00" + group + "\x20\x00\x00\x00\xff\xff\xff\xff"
	}
	for _, name := range []string{"system.posix_acl_access", "system.posix_acl_default"} {
		checkAttribute(t, name, list("\x01\x00\x00\x00", "\x0f\x00\x00\x00"), list("\xa1\x86\x01\x00", "\xaf\x86\x01\x00"))
		if in, want := string(oneOf.InAttribute(name, []byte(list("\xe8\x03\x00\x00", "\xe8\x03\x00\x00")))), list("\xe8\x03\x00\x00", "\xe8\x03\x00\x00"); in != want {
			t.Errorf("of ids that are not mapped came %q", in)
		}
		for _, value := range []string{"", "\x02", "\x02\x00\x00\x00", "\x03\x00\x00\x00\x02\x00\x04\x00\x01\x00\x00\x00", "\x02\x00\x00\x00\x02\x00\x04\x00\x01\x00\x00"} {
			checkAttribute(t, name, value, value)
		}
	}
}

func checkAttribute(t *testing.T, name, disk, container string) {
	t.Helper()
	if in := string(oneOf.InAttribute(name, []byte(container))); in != disk {
		t.Errorf("of %s %q is on the disk %q, want %q", name, container, in, disk)
	}
	if out := string(oneOf.OutAttribute(name, []byte(disk))); out != container {
		t.Errorf("of %s %q is for the container %q, want %q", name, disk, out, container)
	}
	if same := string((*Maps)(nil).OutAttribute(name, []byte(disk))); same != disk {
		t.Errorf("of %s %q is %q without a map", name, disk, same)
	}
}
