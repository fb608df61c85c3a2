package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/node"
	"github.com/trunkline-net/trunkline/policy"
)

func newPolicyCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Check policy.toml, and ask why it decides as it does",
		Long: `policy.toml says whom this node trusts with what. What no rule allows is denied, a
denial wins over every allowance, and an empty file denies everything.

check and explain only read the file. A running node takes a changed file in with reload,
or when it gets SIGHUP, and keeps the old policy when the new one has an error.`,
	}
	cmd.AddCommand(newPolicyCheckCommand(a), newPolicyExplainCommand(a), newPolicyReloadCommand(a))
	return cmd
}

func newPolicyReloadCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Put the changed policy of a running node in force",
		Long: `Does what SIGHUP does, and says what came of it: the node reads its policy and its
certificate again. If one has an error, both stay as they are. Links that the new policy
does not allow any more are closed, and partners that could not be found are looked for
again.`,
		Example: "  trunkline policy check && trunkline policy reload",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(cmd.Context(), func(ctx context.Context, admin *node.Admin) error {
				p, err := admin.ReloadPolicy(ctx)
				if err != nil {
					return err
				}
				return a.result(p, func(w io.Writer) {
					fmt.Fprintf(w, "In force: %s: %s, %s, %s passed\n", p.File, count(p.Domains, "domain"), count(p.Rules, "rule"), count(p.Tests, "test"))
					for _, warning := range p.Warnings {
						a.warning("%s", oneLine(warning))
					}
				})
			})
		},
	}
}

// policyProblem is one error of a file in JSON.
type policyProblem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Problem string `json:"problem"`
	Allowed string `json:"allowed,omitempty"`
}

func newPolicyCheckCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check a policy file and run its tests",
		Long: `Reads a policy file as strictly as the node does, runs its [[test]] cases, and warns
about lines that most likely do not do what was meant. Without FILE it is the
policy.toml in the node's data folder; "-" is standard input.

Ends with 0 if the node would put the file in force, and with 2 if not.`,
		Example: `  trunkline policy check policy.toml
  trunkline policy check policy.toml && systemctl reload trunkline`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			name, data, err := a.readPolicy(name)
			if err != nil {
				return err
			}
			p, err := policy.Parse(name, data)
			if err == nil {
				err = p.Test()
			}
			problems := make([]policyProblem, 0)
			for _, e := range policyErrors(err) {
				problems = append(problems, policyProblem{e.File, e.Line, e.Problem, e.Allowed})
			}
			warnings := p.Warnings()
			if warnings == nil {
				warnings = []string{}
			}
			result := struct {
				OK       bool            `json:"ok"`
				File     string          `json:"file"`
				Domains  int             `json:"domains"`
				Rules    int             `json:"rules"`
				Tests    int             `json:"tests"`
				Warnings []string        `json:"warnings"`
				Errors   []policyProblem `json:"errors"`
			}{err == nil, name, len(p.Domains()), p.Rules(), p.Tests(), warnings, problems}
			if werr := a.result(result, func(w io.Writer) {
				for _, warning := range warnings {
					a.warning("%s", oneLine(warning))
				}
				if err == nil {
					fmt.Fprintf(w, "%s: good: %s, %s, %s passed\n", name, count(result.Domains, "domain"), count(result.Rules, "rule"), count(result.Tests, "test"))
					return
				}
				// All but the first, which becomes the error line.
				for _, line := range strings.Split(err.Error(), "\n")[1:] {
					fmt.Fprintln(a.err, oneLine(line))
				}
			}); werr != nil {
				return werr
			}
			if err != nil {
				first, _, _ := strings.Cut(err.Error(), "\n")
				do := "correct the line and check again; the node would keep the policy it has"
				if len(problems) > 1 {
					do = "correct these lines and check again; the node would keep the policy it has"
				}
				return &exitError{code: exitUsage, what: first, do: do, err: err}
			}
			return nil
		},
	}
}

func policyErrors(err error) []*policy.Error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*policy.Error
		for _, e := range joined.Unwrap() {
			all = append(all, policyErrors(e)...)
		}
		return all
	}
	var e *policy.Error
	if errors.As(err, &e) {
		return []*policy.Error{e}
	}
	return nil
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// readPolicy reads the named file, or the one in the node's data folder.
func (a *app) readPolicy(name string) (string, []byte, error) {
	if name == "" {
		dir, err := a.nodeData()
		if err != nil {
			return "", nil, err
		}
		name = filepath.Join(dir, "policy.toml")
	}
	data, err := a.readInput(name, policy.MaxFile)
	return inputName(name), data, err
}

func newPolicyExplainCommand(a *app) *cobra.Command {
	var file, domain, action, direction, user, at string
	cmd := &cobra.Command{
		Use:   "explain --domain DOMAIN --action ACTION --direction in|out",
		Short: "Say what the policy decides about one request, and why",
		Long: `Asks the policy one question and says what it decides, by which rule, within which
limits, and why; for a denial also what would have to be there for it to be allowed.

"in" is what the other domain asks of this node, "out" is what its own people ask of
the other domain. Actions: ` + actionList() + `.

Ends with 0 whenever the question could be answered, also when the answer is "deny".`,
		Example: `  trunkline policy explain --policy policy.toml --domain globex.example --action signal --direction in
  trunkline policy explain --domain globex.example --action turn --direction in --at 2027-07-01T00:00:00Z`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			r := policy.Request{Domain: domain, User: user, At: a.now()}
			var err error
			if r.Action, err = policy.ParseAction(action); err != nil {
				return usageError(err.Error(), "name one with --action")
			}
			if r.Direction, err = policy.ParseDirection(direction); err != nil {
				return usageError(err.Error(), "say who asks with --direction: in (the other domain) or out (your side)")
			}
			if err := identity.CheckDomain(domain); err != nil {
				return usageError(fmt.Sprintf("%q is not a domain name: %v", domain, err), "write it like globex.example, in lower case, with --domain")
			}
			if user != "" {
				if _, err := identity.ParseID(user); err != nil {
					return usageError(fmt.Sprintf("%q is not an identity: %v", user, err), "write it like tl1… with --user, or leave it out")
				}
			}
			if at != "" {
				if r.At, err = time.Parse(time.RFC3339, at); err != nil {
					return usageError(fmt.Sprintf("%q is not a date with time and zone", at), "write it like 2027-06-30T00:00:00Z")
				}
			}
			name, data, err := a.readPolicy(file)
			if err != nil {
				return err
			}
			p, err := policy.Parse(name, data)
			if err != nil {
				return &exitError{code: exitUsage, what: err.Error(), do: "correct the file; trunkline policy check says more", err: err}
			}
			return a.explain(r, p.Decide(r))
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "policy", "", `policy file, "-" for standard input (default: policy.toml in the node's data folder)`)
	f.StringVar(&domain, "domain", "", "the other side's domain")
	f.StringVar(&action, "action", "", "what is asked for")
	f.StringVar(&direction, "direction", "", "who asks: in or out")
	f.StringVar(&user, "user", "", "the local identity concerned (no rule looks at it yet)")
	f.StringVar(&at, "at", "", "ask as of this moment instead of now, like 2027-06-30T00:00:00Z")
	completeWith(cmd, "action", strings.Split(actionList(), ", ")...)
	completeWith(cmd, "direction", "in", "out")
	return cmd
}

// explain writes a decision. Limits appear under the names of the file, and only those set.
func (a *app) explain(r policy.Request, d policy.Decision) error {
	limits := make(map[string]any)
	var words []string
	if l := d.Limits; l.PerSecond > 0 {
		limits["per_second"] = l.PerSecond
		words = append(words, fmt.Sprintf("%v a second", l.PerSecond))
	}
	if l := d.Limits; l.BytesPerSecond > 0 {
		limits["bytes_per_second"] = l.BytesPerSecond
		words = append(words, policy.FormatSize(l.BytesPerSecond)+" a second")
	}
	if l := d.Limits; l.Concurrent > 0 {
		limits["concurrent"] = l.Concurrent
		words = append(words, fmt.Sprintf("%d at one time", l.Concurrent))
	}
	if l := d.Limits; l.Total > 0 {
		limits["total"] = l.Total
		words = append(words, fmt.Sprintf("%d in a day", l.Total))
	}
	verdict := "deny"
	if d.Allow {
		verdict = "allow"
	}
	return a.result(struct {
		Decision string         `json:"decision"`
		Rule     string         `json:"rule"`
		Level    string         `json:"level"`
		Limits   map[string]any `json:"limits"`
		Reason   string         `json:"reason"`
		Needs    string         `json:"needs"`
	}{verdict, d.Rule, d.Level.String(), limits, d.Reason, d.Needs}, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s %s with %s\n", verdict, r.Action, r.Direction, r.Domain)
		rows := [][]string{{"  rule", d.Rule}, {"  level", d.Level.String()}}
		if d.Allow && len(words) == 0 {
			words = []string{"none"}
		}
		if d.Allow {
			rows = append(rows, []string{"  limits", strings.Join(words, ", ")})
		}
		rows = append(rows, []string{"  because", d.Reason})
		if d.Needs != "" {
			rows = append(rows, []string{"  it needs", d.Needs})
		}
		table(w, rows...)
	})
}

func actionList() string {
	var names []string
	for _, action := range policy.Actions() {
		names = append(names, action.String())
	}
	return strings.Join(names, ", ")
}

// completeWith offers a flag's few values to the shell.
func completeWith(cmd *cobra.Command, flag string, values ...string) {
	err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // the flag does not exist: a bug
	}
}
