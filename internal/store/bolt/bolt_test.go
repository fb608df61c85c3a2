package bolt

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trunkline-net/trunkline/internal/store/storetest"
)

func openIn(dir string, o storetest.Options) (storetest.Store, error) {
	d, err := Open(filepath.Join(dir, "node.db"), Options{Quotas: o.Quotas, Outbox: o.Outbox, Now: o.Now})
	if err != nil {
		return nil, err
	}
	return checked{d}, nil
}

// checked is a DB that is verified whenever it is closed: after every case of the suite the
// counters and the file have to agree.
type checked struct{ *DB }

func (c checked) Close() error {
	r, err := c.Check(context.Background())
	if err == nil && len(r.Problems) > 0 {
		err = errors.New(strings.Join(r.Problems, "; "))
	}
	if cerr := c.DB.Close(); err == nil {
		err = cerr
	}
	return err
}

func TestConformance(t *testing.T) { storetest.Run(t, openIn) }
