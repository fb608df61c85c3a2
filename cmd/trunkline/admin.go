package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/trunkline-net/trunkline/node"
)

// withAdmin connects to the node that serves the data folder and hands the connection to f.
func (a *app) withAdmin(ctx context.Context, f func(context.Context, *node.Admin) error) error {
	dir, err := a.nodeData()
	if err != nil {
		return err
	}
	admin, err := node.Dial(dir)
	if err != nil {
		return a.dialError(dir, err)
	}
	defer admin.Close()
	return adminError(f(ctx, admin))
}

func (a *app) dialError(dir string, err error) error {
	if errors.Is(err, node.ErrNotRunning) {
		return unreachable(nil, "no node runs with the data folder "+dir, "start it with trunkline serve"+a.dataFlag()+", or name another folder with --data DIR")
	}
	return failed(err, "cannot speak to the node", "run this as the user that runs the node")
}

// adminError gives what a node answered over its admin socket an exit code.
func adminError(err error) error {
	var refusal *node.AdminError
	var told *exitError
	switch {
	case err == nil, errors.As(err, &told), errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &refusal) && refusal.Status >= http.StatusBadRequest && refusal.Status < http.StatusInternalServerError:
		return &exitError{code: exitUsage, what: refusal.Message, do: "correct that and run it again; nothing has changed", reason: refusal.Code, err: err}
	case errors.As(err, &refusal):
		return &exitError{code: exitFailure, what: "the node could not do it: " + refusal.Message, do: "look into the log of the node", reason: refusal.Code, err: err}
	case errors.Is(err, node.ErrNotRunning):
		return unreachable(nil, "the node stopped", "start it with trunkline serve")
	}
	return unreachable(err, "the node did not answer", "look into its log")
}
