package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/trunkline-net/trunkline/web"
)

// releaseVersion is set by the linker for a release: -ldflags "-X main.releaseVersion=v1.2.3".
var releaseVersion string

type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Time     string `json:"time,omitempty"` // of the commit
	Modified bool   `json:"modified"`       // the tree had changes beside the commit
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
	Web      string `json:"web"` // digest of the app for the browser
}

// version is what this binary knows of where it came from.
func version() versionInfo {
	v := versionInfo{Version: "devel", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" && info.Main.Version != "(devel)" {
			v.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Commit = s.Value
			case "vcs.time":
				v.Time = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	if releaseVersion != "" {
		v.Version = releaseVersion
	}
	if app, err := web.Load(); err == nil {
		v.Web = app.DigestText()
	}
	return v
}

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which version this is",
		Long: `Says which version this is, from which commit it was built, with which Go, and which
app for the browser is in it: the digest is the SHA-256 of the app's bundle.txt.`,
		Example: "  trunkline version\n  trunkline version --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := version()
			return a.result(v, func(w io.Writer) {
				fmt.Fprintf(w, "trunkline %s", v.Version)
				if v.Commit != "" {
					fmt.Fprintf(w, " (commit %.12s", v.Commit)
					if v.Modified {
						fmt.Fprint(w, ", modified")
					}
					fmt.Fprint(w, ")")
				}
				fmt.Fprintf(w, " %s %s/%s\n", v.Go, v.OS, v.Arch)
				if v.Web != "" {
					fmt.Fprintf(w, "app %s\n", v.Web)
				}
			})
		},
	}
}
