// Command ropeway gets files and releases across networks that lose, reorder
// and forget.
package main

import (
	"context"
	"os"

	"github.com/ropeway/ropeway/internal/cli"
	"github.com/ropeway/ropeway/internal/engine"
)

func main() {
	os.Exit(cli.Run(context.Background(), os.Args[1:], cli.OS(engine.New(os.Getenv))))
}
