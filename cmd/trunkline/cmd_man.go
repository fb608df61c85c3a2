package main

import (
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newManCommand is for packagers, so it is not in the help.
func newManCommand(*app) *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "Write the manual pages into a folder",
		Long:    "Writes one manual page for each command into a folder. SOURCE_DATE_EPOCH fixes their date.",
		Example: "  trunkline man /usr/local/share/man/man1",
		Hidden:  true,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return failed(err, "cannot make the folder", "name a folder that can be written")
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			err := doc.GenManTree(root, &doc.GenManHeader{Title: "TRUNKLINE", Section: "1", Source: "Trunkline", Manual: "Trunkline"}, args[0])
			if err != nil {
				return failed(err, "cannot write the pages", "name a folder that can be written")
			}
			return nil
		},
	}
}
