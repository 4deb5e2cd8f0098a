//go:build !race

package main

const heavy = false
