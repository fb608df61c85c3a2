// Command trunkline is the node, the client and the demonstration in one binary. Its outside
// contract (commands, flags, exit codes, JSON) is in docs/spec and changes only with it.
//
// Each command lives in a file of its own, cmd_*.go, and enters through the list in
// commands.go.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

func main() {
	// The second interrupt ends the process at once, for whoever has no patience for the
	// orderly end that the first one asked for.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	a := newApp(os.Stdin, os.Stdout, os.Stderr)
	a.inTerminal = term.IsTerminal(int(os.Stdin.Fd()))
	a.outTerminal = term.IsTerminal(int(os.Stdout.Fd()))
	a.errTerminal = term.IsTerminal(int(os.Stderr.Fd()))
	a.readHidden = func() ([]byte, error) { return term.ReadPassword(int(os.Stdin.Fd())) }
	code := a.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
