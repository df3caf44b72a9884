package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is shown by 'holdfast completion --help'.
func (completionCmd) Help() string {
	return `Prints a script that completes commands, flags and their values. The script asks the holdfast that is on the PATH, so it need not be made anew for a new version.

Examples:
  source <(holdfast completion bash)
  holdfast completion bash > /etc/bash_completion.d/holdfast
  holdfast completion zsh > "${fpath[1]}/_holdfast"
  holdfast completion fish > ~/.config/fish/completions/holdfast.fish`
}

// completeCommand is what the scripts call: with the words after the program's
// name up to the one that is being typed, which may be empty. It prints a line
// for each candidate, with a tab and what it means; fileLine or dirLine stand
// for the files and folders that the shell knows better.
const (
	completeCommand = "__complete"
	fileLine        = ":file"
	dirLine         = ":dir"
)

var completionScripts = map[string]string{
	"bash": `# bash completion of holdfast
_holdfast() {
	local IFS=$'\n' line word=${COMP_WORDS[COMP_CWORD]}
	[ "$word" = "=" ] && word=
	COMPREPLY=()
	for line in $(holdfast __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null); do
		case $line in
		:file) compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen -f -- "$word")) ;;
		:dir) compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen -d -- "$word")) ;;
		*) COMPREPLY+=("${line%%$'\t'*}") ;;
		esac
	done
}
complete -F _holdfast holdfast
`,
	"zsh": `#compdef holdfast
_holdfast() {
	local line
	local -a candidates
	for line in "${(@f)$(holdfast __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
		case $line in
		'') ;;
		:file) compset -P '--*='; _files ;;
		:dir) compset -P '--*='; _files -/ ;;
		*) candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
		esac
	done
	(( $#candidates )) && _describe holdfast candidates
}
if [ "$funcstack[1]" = _holdfast ]; then _holdfast "$@"; else compdef _holdfast holdfast; fi
`,
	"fish": `# fish completion of holdfast
function __holdfast_complete
	set -l before (commandline -opc)
	set -l token (commandline -ct)
	set -l flag (string match -r -- '^--[^=]*=' $token)
	set -l path (string replace -r -- '^--[^=]*=' '' "$token")
	for line in (holdfast __complete $before[2..-1] "$token" 2>/dev/null)
		switch $line
			case :file
				printf "$flag%s\n" (__fish_complete_path "$path")
			case :dir
				printf "$flag%s\n" (__fish_complete_directories "$path")
			case '*'
				echo $line
		end
	end
end
complete -c holdfast -f -a '(__holdfast_complete)'
`,
}

// Run prints the script.
func (c *completionCmd) Run(std streams) error {
	_, err := io.WriteString(std.out, completionScripts[c.Shell])
	return err
}

// complete prints the candidates for the last word.
func complete(app *kong.Application, words []string, w io.Writer) error {
	for _, c := range candidates(app.Node, words) {
		if _, err := fmt.Fprintln(w, c); err != nil {
			return err
		}
	}
	return nil
}

// candidates walks down the command line to the last word.
func candidates(node *kong.Node, words []string) []string {
	if len(words) == 0 {
		words = []string{""}
	}
	var waiting *kong.Flag // the flag whose value comes next
	position := 0          // arguments before
	last := len(words) - 1
	for _, word := range words[:last] {
		switch {
		case word == "=": // bash makes a word of it
		case waiting != nil:
			waiting = nil
		case strings.HasPrefix(word, "-"):
			waiting = valueFlag(node, word)
		default:
			if next := child(node, word); next != nil {
				node = next
			} else {
				position++
			}
		}
	}
	word := words[last]
	if word == "=" {
		word = ""
	}
	name, value, assigned := strings.Cut(word, "=")
	switch {
	case waiting != nil:
		return values(waiting.Value, "", word)
	case assigned && strings.HasPrefix(word, "-"):
		if waiting = valueFlag(node, name); waiting != nil {
			return values(waiting.Value, name+"=", value)
		}
		return nil
	case strings.HasPrefix(word, "-"):
		return flags(node, word)
	}
	return arguments(node, position, word)
}

// child returns the command of that name.
func child(node *kong.Node, name string) *kong.Node {
	for _, c := range node.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// allFlags returns the flags that may stand after a command.
func allFlags(node *kong.Node) (all []*kong.Flag) {
	for _, group := range node.AllFlags(true) {
		all = append(all, group...)
	}
	if node.DefaultCmd != nil {
		all = append(all, node.DefaultCmd.Flags...)
	}
	return all
}

// valueFlag returns the flag that a word names if a value comes after it.
func valueFlag(node *kong.Node, word string) *kong.Flag {
	for _, f := range allFlags(node) {
		if !f.IsBool() && (word == "--"+f.Name || f.Short != 0 && word == "-"+string(f.Short)) {
			return f
		}
	}
	return nil
}

func flags(node *kong.Node, prefix string) (found []string) {
	for _, f := range allFlags(node) {
		names := []string{"--" + f.Name}
		if f.Tag.Negatable != "" {
			names = append(names, "--no-"+f.Name)
		}
		for _, name := range names {
			if strings.HasPrefix(name, prefix) {
				found = append(found, name+"\t"+firstSentence(f.Help))
			}
		}
	}
	return found
}

// arguments returns commands, or values of the argument that comes next.
func arguments(node *kong.Node, position int, prefix string) (found []string) {
	for _, c := range node.Children {
		if !c.Hidden && strings.HasPrefix(c.Name, prefix) {
			found = append(found, c.Name+"\t"+firstSentence(c.Help))
		}
	}
	if position < len(node.Positional) {
		found = append(found, values(node.Positional[position], "", prefix)...)
	}
	return found
}

// values returns what can be said about a value that begins with prefix. before
// stands before each, as the shell takes both for one word.
func values(v *kong.Value, before, prefix string) (found []string) {
	for _, s := range v.EnumSlice() { // of no values it is one empty string
		if s != "" && strings.HasPrefix(s, prefix) {
			found = append(found, before+s+"\t"+firstSentence(v.Help))
		}
	}
	switch v.Tag.PlaceHolder {
	case "FILE", "PATH":
		found = append(found, fileLine)
	case "DIR":
		found = append(found, dirLine)
	}
	return found
}

// firstSentence shortens a help text to what fits beside a candidate.
func firstSentence(help string) string {
	if i := strings.IndexAny(help, ".:;"); i > 0 {
		return help[:i]
	}
	return help
}
