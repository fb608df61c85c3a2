package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/web"
)

// webTime is for one file.
const webTime = 20 * time.Second

func newVerifyWebCommand(a *app) *cobra.Command {
	var ca string
	cmd := &cobra.Command{
		Use:   "web URL",
		Short: "Compare the app that a node serves with the one in this program",
		Long: `Fetches every file of the app from a running node, as a browser does, and compares it
with the app in this program, byte for byte. So it needs a program of the same version as
the node's, from a place that you trust.

Ends with 0 if all files are the same and with 5 if one differs, and names it. It says what
the node serves to this program now; a node that is out to deceive may serve something else
to somebody else.`,
		Example: "  trunkline verify web https://acme.example\n  trunkline verify web http://127.0.0.1:7420 --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.verifyWeb(cmd.Context(), args[0], ca)
		},
	}
	cmd.Flags().StringVar(&ca, "ca", "", "certificate of the node's own authority, in PEM")
	return cmd
}

// webDifference is a file that is not what it should be.
type webDifference struct {
	File string `json:"file"`
	Why  string `json:"why"` // different, missing, refused
}

func (a *app) verifyWeb(ctx context.Context, address, ca string) error {
	base, err := webAddress(address)
	if err != nil {
		return err
	}
	bundle, err := web.Load()
	if err != nil {
		return failed(err, "there is no app in this program", "build it again from a clean checkout")
	}
	client, err := a.webClient(ca)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()

	differences := []webDifference{}
	compare := func(path, shown string, want []byte) error {
		why, err := compareWeb(ctx, client, base+path, want)
		if err != nil {
			return err
		}
		if why != "" {
			differences = append(differences, webDifference{shown, why})
		}
		return nil
	}
	for _, f := range bundle.Files {
		if err := compare("/"+f.Name, f.Name, f.Body); err != nil {
			return err
		}
	}
	// What a browser asks for is the path of a screen.
	index, _ := bundle.File("index.html")
	for _, route := range bundle.Routes {
		if err := compare(route, route, index.Body); err != nil {
			return err
		}
	}
	same := len(differences) == 0
	if err := a.result(struct {
		OK          bool            `json:"ok"`
		URL         string          `json:"url"`
		Digest      string          `json:"digest"`
		Files       int             `json:"files"`
		Differences []webDifference `json:"differences"`
	}{same, base, bundle.DigestText(), len(bundle.Files), differences}, func(w io.Writer) {
		for _, d := range differences {
			fmt.Fprintf(w, "%s: %s\n", d.Why, oneLine(d.File))
		}
		if same {
			fmt.Fprintf(w, "%s serves the app of this program: %d files, %s\n", oneLine(base), len(bundle.Files), bundle.DigestText())
		}
	}); err != nil {
		return err
	}
	if !same {
		return unverified(nil, base+" serves another app than the one in this program: "+differences[0].File+" is "+differences[0].Why,
			"compare trunkline version here with the node's; if they are the same, do not use that page")
	}
	return nil
}

// webAddress is the part of an address in front of the paths. What stands behind it, for
// example in an invitation, is dropped.
func webAddress(address string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "https" && u.Scheme != "http") {
		return "", usageError("that is no address of a node", "give it as https://acme.example")
	}
	if u.Scheme == "http" && !link.Loopback(u.Hostname()) {
		return "", usageError("without TLS anybody on the way could answer", "give the https address of the node")
	}
	return u.Scheme + "://" + u.Host, nil
}

func (a *app) webClient(ca string) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		data, err := a.readInput(ca, maxAuthority)
		if err != nil {
			return nil, err
		}
		certificates, err := authorities(data)
		if err != nil {
			return nil, &exitError{code: exitUsage, what: ca + " is not the certificate of an authority: " + err.Error(), do: "give the ca.crt of the node, in PEM", err: err}
		}
		config.RootCAs = x509.NewCertPool()
		for _, c := range certificates {
			config.RootCAs.AddCert(c)
		}
	}
	return &http.Client{
		Transport: &http.Transport{TLSClientConfig: config, Proxy: http.ProxyFromEnvironment},
		Timeout:   webTime,
		// The app is served where it is asked for; a page of somebody else is not the node's.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// compareWeb fetches one file and says what is wrong with it, or nothing.
func compareWeb(ctx context.Context, client *http.Client, address string, want []byte) (why string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", usageError("that is no address of a node", "give it as https://acme.example")
	}
	resp, err := client.Do(req)
	if err != nil {
		var untrusted *tls.CertificateVerificationError
		if errors.As(err, &untrusted) {
			return "", unverified(untrusted, "the certificate of the node is not trusted here", "give the node's own authority with --ca, if it has one")
		}
		return "", unreachable(rootCause(err), "the node does not answer at "+address, "check the address, and that the node runs")
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return "missing", nil
	case resp.StatusCode != http.StatusOK:
		return "refused", nil
	}
	// One byte more than expected is enough to see that it is another file.
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(len(want))+1))
	if err != nil {
		return "", unreachable(rootCause(err), "the node stopped in the middle of "+address, "try again")
	}
	if !bytes.Equal(body, want) {
		return "different", nil
	}
	return "", nil
}

// rootCause drops the address that the library puts in front: it is in the sentence already.
func rootCause(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
