// Package rendezvous is how a process finds another one of its user that was made before and waits: at a socket in a directory, whatever the length of its path, by messages that descriptors go with. The one
// that waits does what is wanted in the place of a process that would be made for it, so it has to be as that would be: see [Surroundings].
//
// It is for Linux.
package rendezvous
