package main

import (
	"github.com/spf13/cobra"

	"rowhook/cmd/rowhook/config"
)

const schemaLong = `Prints the JSON Schema of the config file, for editors and for checks in a config repository.

Editors with the YAML language server take it from the file's first line:
  # yaml-language-server: $schema=./rowhook.schema.json`

func newSchemaCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of the config file",
		Long:    schemaLong,
		Example: "  rowhook schema > rowhook.schema.json",
		GroupID: groupAbout,
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			return printJSON(c.out, config.Schema())
		},
	}
}
