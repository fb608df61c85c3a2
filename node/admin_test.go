package node

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/policy"
)

func dialAdmin(t *testing.T, dir string) *Admin {
	t.Helper()
	a, err := Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func TestTheAdministratorSeesAndChangesTheNode(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", registerPolicy("invitation"))
	a, ctx := dialAdmin(t, r.dir), t.Context()

	info, err := os.Stat(filepath.Join(r.dir, fileSocket))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info.Mode(), err)
	}
	s, err := a.Status(ctx)
	if err != nil || !s.Ready || s.Domain != "acme.example" || s.PeerID != r.self.String() || s.Policy.Register != "invitation" || s.Document.Epoch == 0 || s.Invite != "" {
		t.Fatalf("status %+v, %v", s, err)
	}

	invite, err := a.CreateInvite(ctx, InviteRequest{Uses: 2, Note: "for the people upstairs", ExpiresSeconds: 60})
	if err != nil || !strings.HasPrefix(invite.URL, "http://"+r.httpAddr+"/#invite=") || invite.Uses != 2 || invite.Expires == nil {
		t.Fatalf("invitation %+v, %v", invite, err)
	}
	alice := newPerson(t, r)
	if f := dial(t, r, alice).publish(r, alice, token(invite.URL)); f.GetPublished() == nil {
		t.Fatalf("with the invitation: %v", f)
	}
	all, err := a.Invites(ctx)
	if err != nil || len(all) != 2 { // this one, and the one of the start
		t.Fatalf("invitations %+v, %v", all, err)
	}
	var found bool
	for _, i := range all {
		if i.ID == invite.ID {
			found = i.Uses == 1 && i.Used == 1 && i.URL == "" && i.Note == "for the people upstairs"
		}
	}
	if !found {
		t.Errorf("the invitation is not listed as it is: %+v", all)
	}
	if err := a.RevokeInvite(ctx, invite.ID); err != nil {
		t.Fatal(err)
	}
	mallory := newPerson(t, r)
	if f := dial(t, r, mallory).publish(r, mallory, token(invite.URL)); errorCode(f) != link.CodeInvitationInvalid {
		t.Errorf("with a revoked invitation: %v", f)
	}
	var refused *AdminError
	if err := a.RevokeInvite(ctx, "no/such"); !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
		t.Errorf("revoking nothing: %v", err)
	}
	if _, err := a.CreateInvite(ctx, InviteRequest{Uses: maxInviteUses + 1}); !errors.As(err, &refused) || refused.Status != http.StatusBadRequest {
		t.Errorf("an invitation for everybody: %v", err)
	}

	d, err := a.Explain(ctx, "evil.example", policy.ActionSignal, policy.In, "")
	if err != nil || d.Decision != "deny" || d.Rule != "default" || d.Reason == "" || d.Needs == "" {
		t.Errorf("explain %+v, %v", d, err)
	}
	writePolicy(t, r.dir, openPolicy+"[[domain]]\nname=\"evil.example\"\nlevel=\"partner\"\n[[rule]]\nname=\"x\"\nlevel=\"partner\"\ndirection=\"in\"\nactions=[\"signal\"]\nlimit={per_second=3}\n")
	p, err := a.ReloadPolicy(ctx)
	if err != nil || p.Register != "open" || p.Rules != 1 {
		t.Errorf("reload %+v, %v", p, err)
	}
	if d, err = a.Explain(ctx, "evil.example", policy.ActionSignal, policy.In, ""); err != nil || d.Decision != "allow" || d.Rule != "x" || d.Limits["per_second"] != 3.0 {
		t.Errorf("explain after the reload %+v, %v", d, err)
	}
	writePolicy(t, r.dir, "version = 2\n")
	if _, err := a.ReloadPolicy(ctx); !errors.As(err, &refused) || !strings.Contains(refused.Message, "policy.toml:1") {
		t.Errorf("a wrong policy: %v", err)
	}

	report, err := a.VerifyStore(ctx)
	if err != nil || len(report.Problems) != 0 || report.Accounts != 1 {
		t.Errorf("the store: %+v, %v", report, err)
	}
	if peers, err := a.Peers(ctx); err != nil || peers.Peers == nil || peers.Refusals == nil {
		t.Errorf("peers %+v, %v", peers, err)
	}
	if refusals, err := a.Refusals(ctx); err != nil || refusals == nil {
		t.Errorf("refusals %+v, %v", refusals, err)
	}

	if err := a.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-r.done:
		r.ended = true
		if err != nil {
			t.Error(err)
		}
	case <-time.After(wait):
		t.Fatal("it does not shut down")
	}
	if _, err := Dial(r.dir); !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), "trunkline serve") {
		t.Errorf("after the end: %v", err)
	}
	if report, err := VerifyStore(r.dir); err != nil || len(report.Problems) != 0 {
		t.Errorf("the store of the stopped node: %+v, %v", report, err)
	}
}

func TestViewsCountSizesAndNothingElse(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, _ := join(t, r)
	_, alices := join(t, r)
	for range 3 {
		alices.submit(to(t, r, bob, envelope.Live, payload(4096)))
	}
	alices.submit(to(t, r, bob, envelope.Week, payload(1024)))
	v, err := dialAdmin(t, r.dir).Views(t.Context())
	if err != nil || v.Envelopes != 4 || v.Links != 2 || v.Devices != 2 || len(v.Sizes) != 2 || v.Sizes[0] != 1024 || v.Sizes[1] != 4096 {
		t.Errorf("views %+v, %v", v, err)
	}
	if len(v.Counts) != 2 || v.Counts[1] != (SizeView{4096, "live", "link", 3}) {
		t.Errorf("counts %+v", v.Counts)
	}
}

func TestTheSocketWorksInAFolderWithALongName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 20), strings.Repeat("name", 20))
	start(t, dir, "acme.example", openPolicy)
	if _, err := dialAdmin(t, dir).Status(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestASecondNodeDoesNotStartOnTheSameFolder(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	if _, err := New(testConfig(r.dir, "acme.example"), nil); !errors.Is(err, ErrRunning) || !strings.Contains(err.Error(), r.dir) {
		t.Fatalf("a second node on one folder: %v", err)
	}
	if _, err := dialAdmin(t, r.dir).Status(t.Context()); err != nil {
		t.Errorf("the first one suffered: %v", err)
	}
}

func TestTheFolderIsMadeForItsOwnerAndKeepsItsKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	made, err := Init(testConfig(dir, "acme.example"))
	if err != nil {
		t.Fatal(err)
	}
	if len(made.Created) != 3 || !strings.HasPrefix(made.DomainKey, "ed25519:") {
		t.Errorf("made %+v", made)
	}
	again, err := Init(testConfig(dir, "acme.example"))
	if err != nil || again.PeerID != made.PeerID || again.DomainKey != made.DomainKey || len(again.Created) != 0 {
		t.Errorf("the second time %+v, %v", again, err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r := start(t, dir, "acme.example", "")
	if r.Facts().PeerID != made.PeerID || !r.Facts().Ready || r.Facts().Metrics == "" || len(r.Facts().Federation) == 0 {
		t.Errorf("facts %+v", r.Facts())
	}
	err = filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestADamagedKeyIsSaidAndNotReplaced(t *testing.T) {
	dir := t.TempDir()
	if _, err := Init(testConfig(dir, "acme.example")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{fileHostKey, fileDomainKey} {
		path := filepath.Join(dir, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"", "nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", strings.Repeat("x", maxKeyFile+1)} {
			if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Init(testConfig(dir, "acme.example")); err == nil {
				t.Errorf("%s with %d bytes of nonsense is taken", name, len(bad))
			}
			if now, err := os.ReadFile(path); err != nil || string(now) != bad {
				t.Errorf("%s was changed", name)
			}
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheAdministratorSeesWhatTheNodeCosts(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	a, ctx := dialAdmin(t, r.dir), t.Context()
	m, err := a.Collect(ctx)
	if err != nil || m.Heap == 0 || m.Stacks == 0 || m.System < m.Heap || m.Goroutines == 0 {
		t.Errorf("memory %+v, %v", m, err)
	}
	for _, kind := range []string{"heap", "allocs", "cpu"} {
		// Profiles are compressed with gzip.
		if p, err := a.Profile(ctx, kind, 1); err != nil || len(p) < 2 || p[0] != 0x1f || p[1] != 0x8b {
			t.Errorf("%s: %d bytes, %v", kind, len(p), err)
		}
	}
	for kind, seconds := range map[string]int{"goroutine": 0, "": 1, "cpu": 0} {
		var refused *AdminError
		if _, err := a.Profile(ctx, kind, seconds); !errors.As(err, &refused) || refused.Status != http.StatusBadRequest {
			t.Errorf("a profile %q of %d seconds: %v", kind, seconds, err)
		}
	}
}
