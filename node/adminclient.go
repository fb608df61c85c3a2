package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"syscall"
	"time"

	"github.com/trunkline-net/trunkline/policy"
)

// ErrNotRunning means that no node serves the data folder.
var ErrNotRunning = errors.New("no node is running")

// Admin speaks to a running node over its admin socket.
type Admin struct {
	path string
	http *http.Client
}

// Dial connects to the node that serves a data folder. ErrNotRunning means that none does.
func Dial(dataDir string) (*Admin, error) {
	dir, err := filepath.Abs(dataDir)
	if err != nil {
		return nil, err
	}
	a := &Admin{path: filepath.Join(dir, fileSocket)}
	a.http = &http.Client{
		Transport: &http.Transport{DialContext: a.dial, MaxIdleConns: 1, IdleConnTimeout: time.Minute},
		// Checking a large store takes a while.
		Timeout: 10 * time.Minute,
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := a.dial(ctx, "", "")
	if err != nil {
		return nil, err
	}
	return a, c.Close()
}

func (a *Admin) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	at, done, err := socketAddress(a.path)
	if err == nil {
		defer done()
		var c net.Conn
		if c, err = new(net.Dialer).DialContext(ctx, "unix", at); err == nil {
			return c, nil
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w with the data folder %s; start it with: trunkline serve --data %s", ErrNotRunning, filepath.Dir(a.path), filepath.Dir(a.path))
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("the admin socket %s belongs to another user; run this as the user that runs the node", a.path)
	}
	return nil, fmt.Errorf("admin socket: %w", err)
}

// Close ends the connection.
func (a *Admin) Close() { a.http.CloseIdleConnections() }

// maxAdminAnswer bounds what a node may answer.
const maxAdminAnswer = 16 << 20

func (a *Admin) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://node/admin/v1/"+path, body)
	if err != nil {
		return err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		var dial *url.Error
		if errors.As(err, &dial) {
			err = dial.Err
		}
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAdminAnswer))
	if err != nil {
		return fmt.Errorf("admin socket: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var refused struct {
			Error *AdminError `json:"error"`
		}
		if json.Unmarshal(data, &refused) == nil && refused.Error != nil {
			refused.Error.Status = resp.StatusCode
			return refused.Error
		}
		return fmt.Errorf("admin socket: %s", resp.Status)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("admin socket: %w", err)
	}
	return nil
}

func get[T any](ctx context.Context, a *Admin, path string) (out T, err error) {
	return out, a.call(ctx, http.MethodGet, path, nil, &out)
}

func post[T any](ctx context.Context, a *Admin, path string, in any) (out T, err error) {
	return out, a.call(ctx, http.MethodPost, path, in, &out)
}

// Status says what the node is doing.
func (a *Admin) Status(ctx context.Context) (Status, error) { return get[Status](ctx, a, "status") }

// Peers lists the links to other nodes, and who was refused one.
func (a *Admin) Peers(ctx context.Context) (Peers, error) { return get[Peers](ctx, a, "peers") }

// Refusals lists who was refused, and by which rule.
func (a *Admin) Refusals(ctx context.Context) ([]Refusal, error) {
	return get[[]Refusal](ctx, a, "refusals")
}

// Views says what the node saw of what it carried.
func (a *Admin) Views(ctx context.Context) (Views, error) { return get[Views](ctx, a, "views") }

// Invites lists the invitations.
func (a *Admin) Invites(ctx context.Context) ([]Invite, error) {
	return get[[]Invite](ctx, a, "invites")
}

// CreateInvite makes an invitation; only this answer has its URL.
func (a *Admin) CreateInvite(ctx context.Context, r InviteRequest) (Invite, error) {
	return post[Invite](ctx, a, "invites", r)
}

// RevokeInvite ends an invitation, by its id.
func (a *Admin) RevokeInvite(ctx context.Context, id string) error {
	return a.call(ctx, http.MethodDelete, "invites/"+url.PathEscape(id), nil, nil)
}

// ReloadPolicy does what SIGHUP does.
func (a *Admin) ReloadPolicy(ctx context.Context) (PolicyInfo, error) {
	return post[PolicyInfo](ctx, a, "policy/reload", nil)
}

// Explain asks what the policy in force decides.
func (a *Admin) Explain(ctx context.Context, domain string, action policy.Action, direction policy.Direction, user string) (Decision, error) {
	return post[Decision](ctx, a, "policy/explain", ExplainRequest{domain, action.String(), direction.String(), user})
}

// Shutdown makes the node drain and end.
func (a *Admin) Shutdown(ctx context.Context) error {
	return a.call(ctx, http.MethodPost, "shutdown", nil, nil)
}

// VerifyStore checks the store of the running node.
func (a *Admin) VerifyStore(ctx context.Context) (StoreReport, error) {
	return post[StoreReport](ctx, a, "store/verify", nil)
}

// Collect makes the node free what it does not need, and says what remains.
func (a *Admin) Collect(ctx context.Context) (Memory, error) {
	return post[Memory](ctx, a, "memory/collect", nil)
}

// Profile takes a profile of the running node, for go tool pprof.
func (a *Admin) Profile(ctx context.Context, kind string, seconds int) ([]byte, error) {
	p, err := post[Profile](ctx, a, "profile", ProfileRequest{Kind: kind, Seconds: seconds})
	return p.Data, err
}
