package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The project's first vector.
const (
	abandon12     = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"
	abandon12ID   = "tl1qzcx8c3rl6mlqz028cg8veumf26rvesjp95n8puwy9hcfjaqdaw2ctk4a4w"
	abandon12Key  = "b063e223feb7f009ea3e1076679b4ab4366612096933878e216f84cba06f5cac"
	abandon12Peer = "12D3KooWMgvG69c7jncsg2uVa8QhA8swRCQzbuKHiMgmxQ88Mx4K"
)

func readIdentity(t *testing.T, out string) shownIdentity {
	t.Helper()
	var s shownIdentity
	if err := json.Unmarshal([]byte(out), &s); err != nil || strings.Count(out, "\n") != 1 {
		t.Fatalf("not one JSON object on one line: %v: %q", err, out)
	}
	return s
}

func TestANewIdentityComesBackFromItsPhrase(t *testing.T) {
	dir := t.TempDir()
	made := readIdentity(t, step{args: "id new --data $DIR/a --json"}.run(t, dir))
	shown := readIdentity(t, step{args: "id show --data $DIR/a --json"}.run(t, dir))
	if made.ID != shown.ID || len(shown.Devices) != 1 || !shown.Devices[0].This || shown.Devices[0].NotAfter != nil {
		t.Errorf("made %+v\nshown %+v", made, shown)
	}
	phrase := step{args: "id phrase --reveal --data $DIR/a"}.run(t, dir)
	if n := len(strings.Fields(phrase)); n != 24 {
		t.Fatalf("%d words", n)
	}
	back := readIdentity(t, step{args: "id recover --data $DIR/b --json", stdin: phrase}.run(t, dir))
	if back.ID != made.ID || back.Fingerprint != made.Fingerprint {
		t.Errorf("another identity came back: %+v", back)
	}
	if back.Devices[0].ID == made.Devices[0].ID {
		t.Error("the device key came back with the phrase; it must be drawn anew")
	}
	other := readIdentity(t, step{args: "id recover --account 1 --data $DIR/c --json", stdin: phrase}.run(t, dir))
	if other.ID == made.ID {
		t.Error("two accounts are one identity")
	}
}

func TestRecoverPrintsTheVector(t *testing.T) {
	dir := t.TempDir()
	s := readIdentity(t, step{args: "id recover --data $DIR/a --json", stdin: "  " + strings.ToUpper(abandon12) + "\n"}.run(t, dir))
	if s.ID != abandon12ID || s.PublicKey != abandon12Key || s.PeerID != abandon12Peer {
		t.Errorf("%+v", s)
	}
	script{files: map[string]string{"phrase": abandon12, "pass": "TREZOR\n"}, steps: []step{
		{args: "id recover --phrase-file $DIR/phrase --data $DIR/b", out: []string{abandon12ID, "(this one), not registered yet"}},
		{args: "id recover --phrase-file $DIR/phrase --passphrase-file $DIR/pass --data $DIR/c", not: []string{abandon12ID}, out: []string{"id  ", "tl1"}},
	}}.run(t)
}

func TestOneNewlineOfAPassphraseFileDoesNotCount(t *testing.T) {
	ids := make(map[string]string)
	for _, pass := range []string{"secret", "secret\n", "secret\r\n", "secret\n\n", " secret", ""} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "pass"), []byte(pass), 0o600); err != nil {
			t.Fatal(err)
		}
		ids[pass] = readIdentity(t, step{args: "id recover --data $DIR/a --passphrase-file $DIR/pass --json", stdin: abandon12}.run(t, dir)).ID
	}
	if ids["secret"] != ids["secret\n"] || ids["secret"] != ids["secret\r\n"] {
		t.Error("one newline at the end made another key")
	}
	if ids["secret"] == ids["secret\n\n"] || ids["secret"] == ids[" secret"] {
		t.Error("more than one newline at the end was dropped")
	}
	if ids[""] != abandon12ID {
		t.Error("an empty passphrase is no passphrase")
	}
}

func TestWrongPhrasesChangeNothing(t *testing.T) {
	for name, c := range map[string]struct {
		phrase string
		err    []string
	}{
		"a wrong word":                      {strings.Replace(abandon12, "about", "abuot", 1), []string{"12", "abuot", "look at word 12"}},
		"words that do not belong together": {strings.Replace(abandon12, "about", "zoo", 1), []string{"this is not a phrase", "in their order"}},
		"too few":                           {"abandon abandon", []string{"2 words"}},
		"none":                              {"", []string{"0 words"}},
		"a no-break space":                  {strings.Replace(abandon12, " ", "\u00a0", 1), []string{"U+00A0", "ordinary spaces"}},
		"a no-break at the end":             {abandon12 + "\u00a0", []string{"U+00A0"}},
		"far too long":                      {strings.Repeat("abandon ", 1000), []string{"longer than"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			step{args: "id recover --data $DIR/a", stdin: c.phrase, exit: exitUsage, silent: true, err: c.err}.run(t, dir)
			if _, err := os.Stat(filepath.Join(dir, "a")); !os.IsNotExist(err) {
				t.Errorf("something was written: %v", err)
			}
		})
	}
}

func TestAnIdentityIsNotWrittenOver(t *testing.T) {
	dir := t.TempDir()
	step{args: "id recover --data $DIR/a", stdin: abandon12, out: []string{abandon12ID}}.run(t, dir)
	before := listing(t, filepath.Join(dir, "a"))
	step{args: "id new --data $DIR/a", exit: exitFailure, silent: true, err: []string{"there is an identity in the data folder already", "--data DIR"}}.run(t, dir)
	step{args: "id recover --data $DIR/a", stdin: abandon12, exit: exitFailure, silent: true, err: []string{"already"}}.run(t, dir)
	if after := listing(t, filepath.Join(dir, "a")); after != before {
		t.Errorf("files before: %s, after: %s", before, after)
	}
	step{args: "id show --data $DIR/a --json", out: []string{abandon12ID}}.run(t, dir)
	step{args: "id phrase --reveal --data $DIR/a", out: []string{abandon12 + "\n"}}.run(t, dir)
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestThePhraseIsOnlyShownWhereItIsAskedFor(t *testing.T) {
	dir := t.TempDir()
	script{steps: []step{
		{args: "id recover --json", stdin: abandon12, not: []string{"abandon", "about"}},
		{args: "id show", not: []string{"abandon"}},
		{args: "id show --json --log-level debug", not: []string{"abandon"}},
		{args: "id phrase", out: []string{"is kept here"}, not: []string{"abandon"}},
		{args: "id phrase --json", out: []string{`{"kept":true}`}},
		{args: "id phrase --reveal --json", exit: exitUsage, silent: true, err: []string{"never written as JSON"}, not: []string{"abandon"}},
		{args: "id phrase --reveal --forget", exit: exitUsage, silent: true},
		{args: "id phrase --reveal", out: []string{abandon12}},
		{args: "id phrase --reveal", terminal: true, out: []string{" 1 abandon", "12 about"}},
		{args: "id phrase --forget", out: []string{"gone"}},
		{args: "id phrase --forget --json", out: []string{`{"forgotten":false}`}},
		{args: "id phrase --json", out: []string{`{"kept":false}`}},
		{args: "id phrase --reveal", exit: exitFailure, silent: true, err: []string{"not kept here", "paper"}},
		{args: "id show --json", out: []string{abandon12ID}},
	}}.run(t)

	// A new one: shown to a person at a terminal, and to nobody else.
	out := step{args: "id new --data $DIR/terminal", terminal: true, hidden: []string{""}, out: []string{"Write it down", " 1 ", "24 "}}.run(t, dir)
	phrase := step{args: "id phrase --reveal --data $DIR/terminal"}.run(t, dir)
	for _, word := range strings.Fields(phrase) {
		if !strings.Contains(out, " "+word) {
			t.Errorf("the word %q was not shown", word)
		}
	}
	for _, args := range []string{"id new --data $DIR/pipe", "id new --data $DIR/json --json"} {
		st := step{args: args}
		st.run(t, dir)
		data := strings.Fields(args)[3]
		secret := step{args: "id phrase --reveal --data " + data}.run(t, dir)
		again := step{args: "id show --data " + data}.run(t, dir)
		if strings.Contains(again, strings.TrimSpace(secret)) {
			t.Error("id show prints the phrase")
		}
	}
	script{steps: []step{
		{args: "id new --words 12", not: []string{"Write it down"}, err: []string{"warning: only file permissions", "id phrase --reveal"}},
		{args: "id new --words 13 --data $DIR/x", exit: exitUsage, silent: true, err: []string{"12 or 24"}},
	}}.run(t)
}

func TestAPassphraseProtectsWhatIsOnThisComputer(t *testing.T) {
	script{
		files: map[string]string{"unlock": "correct horse\n", "wrong": "battery staple\n", "blank": "\n"},
		steps: []step{
			{args: "id recover --unlock-file $DIR/blank", stdin: abandon12, exit: exitUsage, silent: true, err: []string{"the passphrase is empty"}},
			{args: "id recover --unlock-file $DIR/unlock", stdin: abandon12, out: []string{abandon12ID}, not: []string{"warning"}},
			{args: "id show --json", out: []string{abandon12ID, `"custody":"passphrase"`}},
			{args: "id phrase --reveal --unlock-file $DIR/unlock", out: []string{abandon12}},
			{args: "id phrase --reveal --unlock-file $DIR/wrong", exit: exitUsage, silent: true, err: []string{"does not open", "--unlock-file"}},
			{args: "id phrase --reveal", exit: exitUsage, silent: true, err: []string{"--unlock-file FILE"}},
			{args: "id phrase --reveal", terminal: true, hidden: []string{"correct horse"}, out: []string{"12 about"}},
			{args: "id recover --data $DIR/asked", terminal: true, hidden: []string{abandon12, "one", "two"}, exit: exitUsage, silent: true, err: []string{"differ"}},
			{args: "id recover --data $DIR/asked", terminal: true, hidden: []string{abandon12, "one", "one"}, out: []string{abandon12ID}, not: []string{"warning", "abandon"}},
			{args: "id show --data $DIR/asked", out: []string{"passphrase"}},
		},
	}.run(t)
}

func TestNoSecretLiesOpenInAProtectedFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "unlock"), []byte("correct horse"), 0o600); err != nil {
		t.Fatal(err)
	}
	step{args: "id recover --data $DIR/open", stdin: abandon12}.run(t, dir)
	step{args: "id recover --data $DIR/shut --unlock-file $DIR/unlock", stdin: abandon12}.run(t, dir)
	for folder, want := range map[string]bool{"open": true, "shut": false} { // open is the control
		found := false
		for _, name := range strings.Fields(listing(t, filepath.Join(dir, folder))) {
			path := filepath.Join(dir, folder, name)
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s can be read by others: %v", name, info.Mode())
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			found = found || strings.Contains(string(data), "abandon")
		}
		if found != want {
			t.Errorf("%s: the phrase is readable: %v", folder, found)
		}
	}
}

func TestWithoutAnIdentityItSaysHowToMakeOne(t *testing.T) {
	script{steps: []step{
		{args: "id show", exit: exitFailure, silent: true, err: []string{"there is no identity", "trunkline id new"}},
		{args: "id phrase --json", out: []string{`{"kept":false}`}},
		{args: "id recover --phrase-file $DIR/none", exit: exitUsage, silent: true, err: []string{"none", "check the path"}},
	}}.run(t)
}
