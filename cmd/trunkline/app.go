package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// app is what every command works with: the streams, the global flags, and the few things of
// the outside world that a test replaces.
type app struct {
	in       io.Reader
	out, err io.Writer
	now      func() time.Time
	getenv   func(string) string
	environ  func() []string

	// Whether each stream is a terminal: decides on colours, progress, and on what is shown
	// only to people.
	inTerminal, outTerminal, errTerminal bool
	// readHidden reads a line from the terminal without showing it.
	readHidden func() ([]byte, error)
	// patience is how long a command waits for the own node.
	patience time.Duration
	// scryptWork is the logarithm of the work to protect the phrase.
	scryptWork int

	// The global flags.
	data     string
	json     bool
	quiet    bool
	noColor  bool
	logLevel string

	started bool // a command's own code has begun: errors from now on are not about usage
}

func newApp(in io.Reader, out, err io.Writer) *app {
	return &app{
		in: in, out: out, err: err, now: time.Now, getenv: os.Getenv, environ: os.Environ,
		readHidden: func() ([]byte, error) { return nil, io.ErrUnexpectedEOF },
		patience:   readyPatience,
		scryptWork: scryptWork,
	}
}

// run is the program: it returns the exit code and writes nothing after that.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	// The error may be about the very flags that say how errors are to be written.
	if !a.started && slices.Contains(args, "--json") {
		a.json = true
	}
	e := a.classify(err)
	a.report(e)
	return e.code
}

// root is the command tree.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "trunkline COMMAND",
		Short: "Telephone exchanges whose operators cannot listen",
		Long: `Trunkline connects people and programs, each named by a public key, over nodes
that carry what they cannot read. Each organisation runs one node; nodes federate.

Start here:
  trunkline demo                     see the whole thing work, in a minute
  trunkline serve                    run a node on this machine
  trunkline id new                   make an identity
  trunkline register INVITE          get a mailbox at a node
  trunkline call ADDRESS             call somebody`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs, // so that an unknown command is ours to explain
		RunE:          a.groupHelp,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	f := root.PersistentFlags()
	f.StringVar(&a.data, "data", "", "data `folder` (default $XDG_DATA_HOME/trunkline/node for a node, …/client for a client)")
	f.BoolVar(&a.json, "json", false, "write the result as one JSON object")
	f.BoolVar(&a.quiet, "quiet", false, "write results and errors only: no progress, no hints")
	f.BoolVar(&a.noColor, "no-color", false, "no colours (also with NO_COLOR set)")
	f.StringVar(&a.logLevel, "log-level", "", "log to standard error from this `level` on: debug, info, warn, error (default: as the command needs)")
	completeWith(root, "log-level", "debug", "info", "warn", "error")
	root.SetUsageTemplate(usageTemplate(root.UsageTemplate()))
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError(err.Error(), "see trunkline help "+pathBelowRoot(cmd))
	})
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.checkGlobals() }

	for _, g := range commands() {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, construct := range g.commands {
			cmd := construct(a)
			cmd.GroupID = g.id
			root.AddCommand(cmd)
		}
	}
	a.prepare(root)
	root.SetHelpCommandGroupID("other")
	root.InitDefaultHelpCmd()
	return root
}

// usageTemplate is cobra's, made for 80 columns, and with one line for how to call a command
// that only holds others.
func usageTemplate(text string) string {
	return strings.NewReplacer(
		".LocalFlags.FlagUsages", ".LocalFlags.FlagUsagesWrapped 80",
		".InheritedFlags.FlagUsages", ".InheritedFlags.FlagUsagesWrapped 80",
		"{{if .Runnable}}", "{{if not .HasAvailableSubCommands}}",
		"[command]", "COMMAND",
	).Replace(text)
}

// prepare gives every command below cmd what all have in common: a command that only holds
// others explains itself, and a.started is set when a command's own code begins.
func (a *app) prepare(cmd *cobra.Command) {
	cmd.Long = fill(cmd.Long, 79)
	for _, c := range cmd.Commands() {
		a.prepare(c)
	}
	cmd.SuggestionsMinimumDistance = 2
	if cmd.ValidArgsFunction == nil && len(cmd.ValidArgs) == 0 && !takesFile[pathBelowRoot(cmd)] {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	if cmd.RunE == nil && cmd.Run == nil {
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = a.groupHelp
		return
	}
	if check := cmd.Args; check != nil && cmd.HasParent() {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usageError(err.Error(), "see trunkline help "+pathBelowRoot(c))
			}
			return nil
		}
	}
	if run := cmd.RunE; run != nil && cmd.HasParent() {
		cmd.RunE = func(c *cobra.Command, args []string) error {
			a.started = true
			return run(c, args)
		}
	}
}

// takesFile are the commands whose arguments a shell may complete with files.
var takesFile = map[string]bool{"file send": true, "policy check": true, "man": true}

// groupHelp is what a command does that only holds others.
func (a *app) groupHelp(cmd *cobra.Command, args []string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" {
			names = append(names, c.Name())
		}
	}
	if len(args) > 0 {
		do := "use one of: " + strings.Join(names, ", ")
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			do = fmt.Sprintf("did you mean %q? see trunkline help", strings.TrimSpace(pathBelowRoot(cmd)+" "+near[0]))
		}
		return usageError(fmt.Sprintf("%s has no command %q", cmd.CommandPath(), args[0]), do)
	}
	if !cmd.HasParent() {
		return cmd.Help()
	}
	return usageError(cmd.CommandPath()+" needs a command", "use one of: "+strings.Join(names, ", "))
}

func pathBelowRoot(cmd *cobra.Command) string {
	_, below, _ := strings.Cut(cmd.CommandPath(), " ")
	return below
}

func (a *app) checkGlobals() error {
	if a.logLevel == "" {
		return nil
	}
	var l slog.Level
	if err := l.UnmarshalText([]byte(a.logLevel)); err != nil {
		return usageError(fmt.Sprintf("%q is not a log level", a.logLevel), "use --log-level debug, info, warn or error")
	}
	return nil
}

// levelSilent is for commands that log nothing unless --log-level asks for it.
const levelSilent = slog.LevelError + 4

// logger writes to standard error, from the given level on unless --log-level says otherwise.
func (a *app) logger(level slog.Level) *slog.Logger {
	if a.logLevel != "" {
		// checkGlobals has read it before; an empty level would only be the default.
		if err := level.UnmarshalText([]byte(a.logLevel)); err != nil {
			return slog.New(slog.DiscardHandler)
		}
	}
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level}))
}

// nodeData is the data folder of node commands, clientData that of all others. The first is
// also a key of node.toml, and so has the environment variable of one.
func (a *app) nodeData() (string, error) {
	if dir := a.getenv("TRUNKLINE_DATA"); dir != "" && a.data == "" {
		return dir, nil
	}
	return a.dataFolder("node")
}

func (a *app) clientData() (string, error) { return a.dataFolder("client") }

func (a *app) dataFolder(kind string) (string, error) {
	if a.data != "" {
		return a.data, nil
	}
	// The specification of XDG_DATA_HOME says to ignore a relative one.
	if base := a.getenv("XDG_DATA_HOME"); filepath.IsAbs(base) {
		return filepath.Join(base, "trunkline", kind), nil
	}
	home := a.getenv("HOME")
	if home == "" {
		return "", usageError("there is no home folder to keep data in", "name a folder with --data DIR, or set XDG_DATA_HOME or HOME")
	}
	return filepath.Join(home, ".local", "share", "trunkline", kind), nil
}

// readInput reads a file, or standard input for "-", up to a limit.
func (a *app) readInput(name string, limit int64) ([]byte, error) {
	var r io.Reader = a.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, &exitError{code: exitUsage, what: withCause("cannot read the input", err), do: "check the path and its permissions", err: err}
		}
		defer f.Close()
		r = f
	}
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, failed(err, fmt.Sprintf("cannot read %s", inputName(name)), "check that it is a file that can be read")
	}
	if int64(len(data)) > limit {
		return nil, usageError(fmt.Sprintf("%s is longer than %d bytes", inputName(name), limit), "check that it is the right file")
	}
	return data, nil
}

func inputName(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
}

// readPassphrase reads a passphrase from a file, without its one trailing newline, which
// editors add and which would make a different key.
func (a *app) readPassphrase(name string) (string, error) {
	data, err := a.readInput(name, 4096)
	if err != nil {
		return "", err
	}
	s := string(data)
	if t, ok := strings.CutSuffix(s, "\r\n"); ok {
		return t, nil
	}
	return strings.TrimSuffix(s, "\n"), nil
}
