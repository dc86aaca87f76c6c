// Package serialmux carries connections between host and guest over one byte stream: a virtio-serial port, whose host end is a unix socket of
// QEMU. It has both ends. Underneath is hashicorp/yamux; a stream opens with the number of the port it wants.
//
// What it adds to yamux, and why:
//
//   - hello.go: host and guest find each other's first byte in a pipe that may hold the rest of an earlier session, and outlives both.
//   - link.go, write.go, room.go: what lies between yamux and the pipe. Writes go past yamux, which would wake three goroutines for each; what the pipe has no room for is queued, so that a paused VM
//     blocks a stream only by its window, where deadlines hold. The link counts what the peer has room for. Frames of the peer are checked and streams counted, because the guest may be hostile; and it
//     can reset a stream, which yamux cannot.
//   - session.go, conn.go: the header of a stream, refusal of a port, and connections with the semantics of TCP: half-close both ways,
//     reset, and a lost session that is an error and not an end of file.
//   - receive.go: what arrives goes past yamux as well, so that a proxy writes the memory that a frame was read into. It tells the other end of the room there is.
//   - sender_linux.go: what a guest has to say in bulk the kernel moves to the port by pages, and only the headers of the frames are written. The frames are those of yamux.
//   - guest.go: the guest's end over any number of sessions, one after another; port_linux.go finds and opens the device.
//
// It knows nothing of the hybrid vsock protocol, nor of who listens on which port. Start with session.go.
package serialmux
