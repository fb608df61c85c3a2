package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trunkline-net/trunkline/node"
	"github.com/trunkline-net/trunkline/policy"
)

// nodeFlags are the keys of node.toml as flags. Only those given count: the others come from
// the environment, the file and the defaults.
type nodeFlags struct {
	cmd    *cobra.Command
	config string
	values map[string]*string // by the key's name
}

// addNodeFlags gives a command a flag for every key of node.toml, but for those that are
// global flags already.
func addNodeFlags(cmd *cobra.Command, without ...string) *nodeFlags {
	f := &nodeFlags{cmd: cmd, values: make(map[string]*string)}
	skip := map[string]bool{"data": true, "log.level": true}
	for _, name := range without {
		skip[name] = true
	}
	for _, k := range node.Keys() {
		if !skip[k.Name] {
			f.values[k.Name] = cmd.Flags().String(k.Flag(), "", k.Help+" ("+k.Name+")")
		}
	}
	return f
}

// given are the flags that stand on the command line, as node.LoadConfig takes them.
func (f *nodeFlags) given(a *app) map[string]string {
	out := make(map[string]string)
	for _, k := range node.Keys() {
		if v := f.values[k.Name]; v != nil && f.cmd.Flags().Changed(k.Flag()) {
			out[k.Name] = *v
		}
	}
	if a.data != "" {
		out["data"] = a.data
	}
	if a.logLevel != "" {
		out["log.level"] = strings.ToLower(a.logLevel)
	}
	return out
}

const nodeToml = "node.toml"

// load reads the configuration of a node that is to run. The file is the one that was named,
// or the node.toml of the data folder, or none.
func (f *nodeFlags) load(a *app) (cfg node.Config, file string, err error) {
	file = f.config
	if file == "" {
		dir, err := a.nodeData()
		if err != nil {
			return cfg, "", err
		}
		file = filepath.Join(dir, nodeToml)
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			file = ""
		}
	}
	cfg, err = node.LoadConfig(file, a.environ(), f.given(a))
	if err != nil {
		return cfg, file, configError(err)
	}
	cfg.Version = version().Version
	return cfg, file, nil
}

func configError(err error) error {
	do := "correct the configuration; trunkline help serve lists every key"
	if errors.Is(err, fs.ErrNotExist) {
		do = "check the path, or write a configuration with trunkline init"
	}
	return &exitError{code: exitUsage, what: err.Error(), do: do, err: err}
}

// policyOf is where the policy of a configuration stands.
func policyOf(cfg node.Config) string {
	if cfg.PolicyFile != "" {
		return cfg.PolicyFile
	}
	return filepath.Join(cfg.Data, "policy.toml")
}

// checkPolicy reads the policy as the node will, before the node touches anything. A missing
// policy.toml in the data folder is fine: the node writes one that denies everything.
func checkPolicy(cfg node.Config) error {
	name := policyOf(cfg)
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) && cfg.PolicyFile == "" {
		return nil
	}
	if err == nil && info.Size() > policy.MaxFile {
		err = fmt.Errorf("%s is longer than %d bytes", name, policy.MaxFile)
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(name)
	}
	if err != nil {
		return &exitError{code: exitUsage, what: withCause("cannot read the policy", err), do: "check the path and its permissions", err: err}
	}
	p, err := policy.Parse(name, data)
	if err == nil {
		err = p.Test()
	}
	if err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return &exitError{code: exitUsage, what: first, do: "correct the file; trunkline policy check says more", err: err}
	}
	return nil
}

// dataFlag is --data for a command that is shown to people, where they used it themselves.
func (a *app) dataFlag() string {
	if a.data == "" {
		return ""
	}
	return " --data " + shellQuote(a.data)
}

// shellQuote makes one word of s for a shell of the Bourne family.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-=:@,+", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
