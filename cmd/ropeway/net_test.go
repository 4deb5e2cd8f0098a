//go:build unix

package main

import (
	"net"
	"strings"
	"testing"
)

// addr is HOST:PORT of the server.
func (s *server) addr() string {
	_, rest, _ := strings.Cut(s.url, "@")
	addr, _, _ := strings.Cut(rest, "/")
	return addr
}

// closedPort is an address that refuses connections.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}
