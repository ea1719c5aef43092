package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"rowhook/cmd/rowhook/spelling"
)

const completionExample = `  bash        rowhook completion bash > /etc/bash_completion.d/rowhook
  zsh         rowhook completion zsh > "${fpath[1]}/_rowhook"
  fish        rowhook completion fish > ~/.config/fish/completions/rowhook.fish
  powershell  rowhook completion powershell | Out-String | Invoke-Expression`

func newCompletionCommand(c *console) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:                   "completion bash|zsh|fish|powershell",
		Short:                 "Print a shell's completion script",
		Example:               completionExample,
		GroupID:               groupAbout,
		Args:                  oneArg("shell: bash, zsh, fish or powershell"),
		ValidArgs:             shells,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(c.out, true)
			case "zsh":
				return root.GenZshCompletion(c.out)
			case "fish":
				return root.GenFishCompletion(c.out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(c.out)
			}
			return &usageError{
				err:     fmt.Errorf("there is no completion for %q%s", args[0], spelling.DidYouMean(args[0], shells)),
				command: cmd.CommandPath(),
			}
		},
	}
}
