// Package ropeway holds the tests about the source itself; the program is in
// cmd/ropeway.
package ropeway
