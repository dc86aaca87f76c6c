// Package bootid tells one uptime of a host from another, for records that a reboot makes void.
package bootid
