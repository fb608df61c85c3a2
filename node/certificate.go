package node

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/localca"
)

// caPath is where a device gets the certificate of the local authority, to install it. It is
// public; what makes it worth trusting is that its fingerprint is compared.
const caPath = "/ca.crt"

// Authority says what to install where this node is to be trusted. Zero without a local
// authority.
type Authority struct {
	File        string    `json:"file"`
	URL         string    `json:"url"`
	Fingerprint string    `json:"fingerprint"` // SHA-256, as browsers show it
	NotAfter    time.Time `json:"not_after"`
}

// loadCertificate makes or reads the certificate that the listener serves; nil without TLS.
func (n *Node) loadCertificate() (*tls.Certificate, error) {
	switch n.cfg.HTTP.TLS {
	case "files":
		cert, err := tls.LoadX509KeyPair(n.cfg.HTTP.CertFile, n.cfg.HTTP.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("http.cert_file and http.key_file: %w", err)
		}
		return &cert, nil
	case "local":
		cert, err := n.authority.Issue(n.certificateNames(), time.Now())
		if err != nil {
			return nil, fmt.Errorf("http.tls: %w", err)
		}
		return cert, nil
	}
	return nil, nil
}

// openAuthority makes or reads the local authority. Certificates are checked by clients
// against the clock of the system, so they are made by it.
func (n *Node) openAuthority() error {
	if n.cfg.HTTP.TLS != "local" {
		return nil
	}
	a, made, err := localca.Open(n.folder.path(folderAuthority), n.cfg.Domain, time.Now())
	if err != nil {
		return err
	}
	n.authority = a
	if made {
		n.folder.created = append(n.folder.created, a.Path())
	}
	return nil
}

// certificateNames are the names and addresses at which this node is dialled.
func (n *Node) certificateNames() []string {
	names := []string{n.cfg.Domain, "localhost", "127.0.0.1", "::1"}
	if n.cfg.HTTP.PublicURL != "" {
		names = append(names, link.Hostname(n.publicHost))
	}
	host, _, _ := net.SplitHostPort(n.cfg.HTTP.Listen) // Config.Check has read it
	if ip, err := netip.ParseAddr(host); err == nil && !ip.IsUnspecified() {
		names = append(names, ip.Unmap().WithZone("").String())
	} else if err == nil || host == "" {
		names = append(names, privateAddresses()...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// privateAddresses are those of this machine that a local authority may vouch for. One that
// cannot be read is one that nobody is told.
func privateAddresses() (out []string) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addresses {
		p, err := netip.ParsePrefix(a.String())
		if ip := p.Addr().Unmap().WithZone(""); err == nil && (ip.IsPrivate() || ip.IsLinkLocalUnicast()) {
			out = append(out, ip.String())
		}
	}
	return out
}

// renewCertificate is asked every hour: a certificate of the local authority is made anew
// long before it ends, and when the machine has other addresses.
func (n *Node) renewCertificate() {
	if n.authority == nil {
		return
	}
	cert := n.certificate.Load()
	if time.Until(cert.Leaf.NotAfter) > localca.RenewBefore && slices.Equal(n.certificateNames(), n.certified) {
		return
	}
	if err := n.certify(); err != nil {
		n.log.Error("certificate not renewed", "error", err)
		return
	}
	n.log.Info("certificate renewed by the local authority")
}

// certify puts a certificate in force.
func (n *Node) certify() error {
	cert, err := n.loadCertificate()
	if err != nil {
		return err
	}
	n.certificate.Store(cert)
	n.certified = n.certificateNames()
	return nil
}

func (n *Node) serveAuthority(w http.ResponseWriter, _ *http.Request) {
	if n.authority == nil {
		plain(w, http.StatusNotFound, "this node has no authority of its own\n")
		return
	}
	w.Header().Set("Content-Type", "application/x-x509-ca-cert")
	w.Header().Set("Content-Disposition", `attachment; filename="`+n.cfg.Domain+`.crt"`)
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(n.authority.PEM()) // the client may be gone
}

func (n *Node) authorityFacts(base string) *Authority {
	if n.authority == nil {
		return nil
	}
	return &Authority{File: n.authority.Path(), URL: base + caPath, Fingerprint: n.authority.Fingerprint(), NotAfter: n.authority.NotAfter()}
}
