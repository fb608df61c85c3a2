package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// The exit codes of the contract.
const (
	exitDone        = 0
	exitFailure     = 1
	exitUsage       = 2
	exitRefused     = 3 // by a policy or by the peer
	exitUnreachable = 4
	exitUnverified  = 5
)

var codeNames = map[int]string{
	exitFailure: "failure", exitUsage: "usage", exitRefused: "refused",
	exitUnreachable: "unreachable", exitUnverified: "verification",
}

// exitError is how a command ends when it does not succeed: what went wrong in one line, what
// to do about it in one line, and the exit code. Commands return it; nothing else decides
// about exit codes.
type exitError struct {
	code   int
	what   string
	do     string
	reason string // the code of a refusal, as the other side gave it; may be empty
	err    error  // what it came from; may be nil
}

func (e *exitError) Error() string { return e.what }
func (e *exitError) Unwrap() error { return e.err }

// usageError is for wrong arguments, input and configuration: nothing has been changed.
func usageError(what, do string) error { return &exitError{code: exitUsage, what: what, do: do} }

// failed is for what did not work here. The cause is appended to what.
func failed(err error, what, do string) error {
	return &exitError{code: exitFailure, what: withCause(what, err), do: do, err: err}
}

// refused is for what a policy or the peer did not allow; reason is their code.
func refused(reason, what, do string) error {
	return &exitError{code: exitRefused, what: what, do: do, reason: reason}
}

// unreachable is for a node or peer that did not answer.
func unreachable(err error, what, do string) error {
	return &exitError{code: exitUnreachable, what: withCause(what, err), do: do, err: err}
}

// unverified is for a signature, key, number or check that does not hold.
func unverified(err error, what, do string) error {
	return &exitError{code: exitUnverified, what: withCause(what, err), do: do, err: err}
}

func withCause(what string, err error) string {
	if err == nil {
		return what
	}
	return what + ": " + err.Error()
}

// classify finds the exitError in an error. Any other error is a failure, or, before the
// command's own code has begun, about how it was called.
func (a *app) classify(err error) *exitError {
	var e *exitError
	switch {
	case errors.As(err, &e):
		return e
	case !a.started:
		return &exitError{code: exitUsage, what: err.Error(), do: "see trunkline help", err: err}
	case errors.Is(err, context.Canceled):
		return &exitError{code: exitFailure, what: "interrupted", do: "run it again to go on", err: err}
	default:
		return &exitError{code: exitFailure, what: err.Error(), do: "run it again with --log-level debug to see more", err: err}
	}
}

// report writes the two lines, or with --json one object, to standard error.
func (a *app) report(e *exitError) {
	what, do := oneLine(e.what), oneLine(e.do)
	if a.json {
		object := struct {
			Error struct {
				Code   int    `json:"code"`
				Kind   string `json:"kind"`
				Reason string `json:"reason,omitempty"`
				What   string `json:"what"`
				Do     string `json:"do"`
			} `json:"error"`
		}{}
		object.Error.Code, object.Error.Kind = e.code, codeNames[e.code]
		object.Error.Reason, object.Error.What, object.Error.Do = e.reason, what, do
		enc := json.NewEncoder(a.err)
		enc.SetEscapeHTML(false)
		if enc.Encode(object) == nil {
			return
		}
	}
	label := "error: "
	if a.color(a.errTerminal) {
		label = "\x1b[1;31merror:\x1b[0m "
	}
	fmt.Fprintf(a.err, "%s%s\n", label, what)
	if do != "" {
		fmt.Fprintf(a.err, "  %s\n", do)
	}
}

// oneLine keeps what strangers wrote (a file, a peer) from moving the cursor or adding lines.
func oneLine(s string) string {
	s = strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "; ")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return '�'
		}
		return r
	}, s)
}
