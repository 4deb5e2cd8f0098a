// Package netns makes network namespaces, and the TUN devices, addresses and
// settings in them, by system calls alone: no other program is needed.
//
// A namespace exists as long as this process holds it, or a process runs in
// it. As root it has a name too, which tells whose it is, so that a later run
// finds what a killed one left behind (Clean). Without root, Sandbox runs this
// program again in a user namespace, where it may do the same; all of that
// vanishes with its first process.
//
// Only Linux has this. Elsewhere Check says so.
package netns
