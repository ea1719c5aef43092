// Package operation holds the words of the control socket: what commands ask of an agent, and what
// it answers.
//
// Both ends speak them, the commands and the agent. So the JSON names of a request, an answer and
// the status report are a contract, with agents and commands of other versions too, and with
// everybody who reads --json. A test holds them to a golden file.
//
// The package holds data. What an operation does is the agent's matter, how an answer is shown is
// the command's, and how it travels is package control's. Texts that an answer holds write times
// as [FormatDuration] does.
package operation
