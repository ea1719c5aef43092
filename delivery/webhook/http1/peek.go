package http1

import (
	"errors"
	"net"
	"syscall"
)

// peeker looks at a socket without reading it.
type peeker struct {
	raw   syscall.RawConn // nil when there is no socket
	look  func(fd uintptr)
	found bool
}

func (p *peeker) init(c net.Conn) {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	p.raw, _ = socket.SyscallConn()
	p.look = func(fd uintptr) {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		p.found = !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
	}
}

// readable reports whether a read would not wait.
func (p *peeker) readable() bool {
	if p.raw == nil {
		return false
	}
	p.found = false
	return p.raw.Control(p.look) != nil || p.found
}
