//go:build !unix

package node

import "errors"

const rawSockets = false

type rawRead struct{}

func (l *clientLink) moreRaw() error { return errors.ErrUnsupported }

func (s *socket) tryWrite(*batch) error { return errors.ErrUnsupported }
