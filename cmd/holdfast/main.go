// Command holdfast serves a language model, talks to it in a terminal, and
// answers questions about models and machines.
//
// Flags become plain structs (serveCmd, runCmd …), each with a Run method that
// wires the packages together. Errors end in one line on stderr:
//
//	holdfast: what: where: what to do
//
// and in the exit code: 0 done, 1 failed, 2 wrong usage. Flags that are not given
// come from the environment, HOLDFAST_NAME, and for serve then from a file.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"
)

const (
	exitFailure = 1
	exitUsage   = 2
)

const description = `A stateful inference worker for language models. 'holdfast COMMAND --help' explains a command.

A flag that is not given may come from the environment: HOLDFAST_ and its name in capitals, as in HOLDFAST_MODEL=m.gguf for --model.

Exit codes: 0 done; 1 failed, with one line on stderr that says what, where and what to do; 2 a mistake in the command line, the environment or a file of flags.`

// cli is the command line.
type cli struct {
	Serve      serveCmd      `cmd:"" help:"Serve a model over HTTP, as OpenAI's clients expect it."`
	Run        runCmd        `cmd:"" help:"Talk to a model in the terminal, or have one prompt answered."`
	Pull       pullCmd       `cmd:"" help:"Fetch a model's file from a hub, resumed and checked."`
	Tokenize   tokenizeCmd   `cmd:"" help:"Turn text into token IDs."`
	Session    sessionCmd    `cmd:"" help:"Look after durable sessions, at a server or in a stopped store."`
	Bench      benchCmd      `cmd:"" help:"Measure the speed of a model on this machine."`
	Doctor     doctorCmd     `cmd:"" help:"Say what this machine offers and what is missing."`
	Completion completionCmd `cmd:"" help:"Print a completion script for a shell."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
}

// streams are the standard streams; commands use no others.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func main() {
	os.Exit(start(os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// newParser makes the parser of the command line. exit is called after --help.
func newParser(std streams, exit func(code int)) *kong.Kong {
	parser, err := kong.New(new(cli),
		kong.Name("holdfast"),
		kong.Description(description),
		kong.DefaultEnvars("HOLDFAST"),
		kong.ValueFormatter(func(v *kong.Value) string { return v.Help }), // without each flag's variable
		kong.Writers(std.out, std.err),
		kong.Exit(exit),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Bind(std),
	)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return parser
}

// start runs the command line and returns the exit code.
func start(args []string, std streams) int {
	exit := -1
	parser := newParser(std, func(code int) { exit = code })
	if len(args) == 0 {
		args = []string{"--help"}
	}
	if args[0] == completeCommand {
		return report(std.err, complete(parser.Model, args[1:], std.out))
	}
	ctx, err := parser.Parse(args)
	if exit >= 0 {
		return exit
	}
	if err != nil {
		hint := "holdfast --help"
		var pe *kong.ParseError
		if errors.As(err, &pe) && pe.Context.Selected() != nil {
			hint = pe.Context.Selected().FullPath() + " --help"
		}
		return report(std.err, usagef("command line: %v: see '%s'", err, hint))
	}
	return report(std.err, ctx.Run())
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// report prints an error as one line and returns the exit code.
func report(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(w, "holdfast: "+strings.Join(strings.Fields(err.Error()), " "))
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	return exitFailure
}
