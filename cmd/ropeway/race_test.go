//go:build race

package main

// heavy is set where the tests themselves take so much memory that what they
// start is charged for it: the kernel counts a process from its fork.
const heavy = true
