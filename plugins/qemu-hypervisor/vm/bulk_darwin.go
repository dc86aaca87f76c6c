package vm

// enlargeSocket does nothing: a process's sockets are its own.
func enlargeSocket(int, string) {}
