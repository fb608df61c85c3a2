package main

import (
	"github.com/spf13/cobra"
)

func newCompletionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Write a shell's completion script",
		Long: `Writes the script that lets a shell complete trunkline's commands and flags.

The script is written to standard output; where it has to go depends on the shell.`,
		Example: `  source <(trunkline completion bash)
  trunkline completion bash > /etc/bash_completion.d/trunkline
  trunkline completion zsh > "${fpath[1]}/_trunkline"
  trunkline completion fish > ~/.config/fish/completions/trunkline.fish`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.out, true)
			case "zsh":
				return root.GenZshCompletion(a.out)
			case "fish":
				return root.GenFishCompletion(a.out, true)
			default:
				return root.GenPowerShellCompletionWithDesc(a.out)
			}
		},
	}
}
