package peers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
)

// ports are ports of 127.0.0.1 that nobody uses and nobody is given while they
// are reserved, not by another test process either: the same ports of 127.0.0.2
// are listened on. So a server that is stopped finds its port free when it is
// started again. They lie below the range from which Linux takes ports for
// outgoing connections.
type ports struct {
	numbers  []int
	reserved []net.Listener
}

const (
	firstPort = 20000
	lastPort  = 32000
)

// reservePorts returns n ports.
func reservePorts(n int) (*ports, error) {
	p := &ports{}
	for range 1000 {
		if len(p.numbers) == n {
			return p, nil
		}
		p.try(firstPort + rand.IntN(lastPort-firstPort))
	}
	p.release()
	return nil, fmt.Errorf("reserve %d ports between %d and %d: none are free", n, firstPort, lastPort)
}

func (p *ports) try(port int) {
	reserved, err := listen("127.0.0.2", port)
	if err != nil {
		return
	}
	free, err := listen("127.0.0.1", port)
	if err != nil {
		_ = reserved.Close()
		return
	}
	_ = free.Close()
	p.numbers = append(p.numbers, port)
	p.reserved = append(p.reserved, reserved)
}

func (p *ports) release() {
	for _, l := range p.reserved {
		_ = l.Close()
	}
}

func listen(host string, port int) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(context.Background(), "tcp", fmt.Sprintf("%s:%d", host, port))
}
