package main

import (
	"fmt"
	"strings"

	"github.com/trunkline-net/trunkline/node"
)

// nodeTomlText is the node.toml that init writes: every key with its value and what it is
// for, so that nobody needs a manual to change one.
func nodeTomlText(c node.Config) string {
	var b strings.Builder
	line := func(key, value, about string) {
		text := fmt.Sprintf("%-11s = %s", key, value)
		if about != "" {
			text = fmt.Sprintf("%-42s # %s", text, about)
		}
		b.WriteString(text + "\n")
	}
	text := func(key, value, about string) { line(key, tomlText(value), about) }
	list := func(key string, values []string, about string) {
		quoted := make([]string, len(values))
		for i, v := range values {
			quoted[i] = tomlText(v)
		}
		line(key, "["+strings.Join(quoted, ", ")+"]", about)
	}
	b.WriteString(`# node.toml: how this node runs. Whom it trusts stands in policy.toml.
#
# Every key is also a flag of "trunkline serve" (listen in [http]: --http-listen) and an
# environment variable (TRUNKLINE_HTTP_LISTEN). A flag wins over the environment, and the
# environment over this file. An unknown key is an error. Addresses are host:port; port 0
# picks one.
#
# Unless you chose otherwise the node listens on this machine alone. "public:" says what to
# write when the world is to reach it.

`)
	text("domain", c.Domain, "stands behind the @ of every address; it cannot change later")
	text("data", c.Data, "everything the node keeps: back it up")
	b.WriteString("\n[http]    # clients, the app, .well-known\n")
	text("listen", c.HTTP.Listen, `public: "0.0.0.0:443"`)
	text("public_url", c.HTTP.PublicURL, `what people dial, like "https://`+c.Domain+`"; made from listen when empty`)
	text("tls", c.HTTP.TLS, `off (this machine only) | files | local (an authority of its own); public: "files"`)
	text("cert_file", c.HTTP.CertFile, "certificate chain in PEM, for files; SIGHUP reads it again")
	text("key_file", c.HTTP.KeyFile, "its private key in PEM")
	list("origins", c.HTTP.Origins, "other web origins that may open a link")
	b.WriteString("\n[federation]    # other nodes, over TCP and QUIC\n")
	list("listen", c.Federation.Listen, `public: ["0.0.0.0:7421"]`)
	list("announce", c.Federation.Announce, `how others reach it, like ["`+c.Domain+`:7421"]; listen when empty`)
	if len(c.Federation.Peers) == 0 {
		b.WriteString(`
# Where the signed domain document of a partner is, when it is not at
# https://DOMAIN/.well-known/trunkline/domain: a URL, or a file that the partner sent you.
# [[federation.peer]]
# domain   = "globex.example"
# document = "/etc/trunkline/globex.document"
`)
	}
	for _, p := range c.Federation.Peers {
		b.WriteString("\n[[federation.peer]]    # where this partner's signed domain document is\n")
		text("domain", p.Domain, "")
		text("document", p.Document, "a URL or a file")
	}
	b.WriteString("\n[turn]    # the relay for media, over UDP and TCP\n")
	text("listen", c.TURN.Listen, `public: "0.0.0.0:3478"`)
	text("external_ip", c.TURN.ExternalIP, "the address it is seen at; auto: the one it listens on")
	text("relay_ports", c.TURN.RelayPorts, "open these for UDP in the firewall")
	list("allow_peers", c.TURN.AllowPeers, "only public addresses are relayed to, and these")
	b.WriteString("\n[sfu]    # media of rooms that outgrow their mesh; \"\": none\n")
	text("listen", c.SFU.Listen, "")
	b.WriteString("\n[mailbox]    # what waits for one device that is offline\n")
	line("max_envelopes", fmt.Sprint(c.Mailbox.MaxEnvelopes), "")
	text("max_bytes", c.Mailbox.MaxBytes.String(), "")
	b.WriteString("\n[metrics]    # for Prometheus, at /metrics\n")
	text("listen", c.Metrics.Listen, `"" for none`)
	b.WriteString("\n[log]\n")
	text("level", c.Log.Level, "debug | info | warn | error")
	text("format", c.Log.Format, "text | json")
	return b.String()
}

// tomlText is a basic string of TOML.
func tomlText(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`, "\r", `\r`).Replace(s) + `"`
}
