package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/holdfast-run/holdfast/internal/pull"
)

type pullCmd struct {
	Repo      string `arg:"" help:"Repository: OWNER/NAME."`
	File      string `arg:"" help:"File of the repository."`
	Revision  string `default:"main" placeholder:"NAME" help:"Branch, tag or commit. Default ${default}."`
	Dir       string `default:"models" placeholder:"DIR" help:"Folder that the file goes to; made if it is missing. Default ${default}."`
	Endpoint  string `default:"https://huggingface.co" env:"HOLDFAST_ENDPOINT,HF_ENDPOINT" placeholder:"URL" help:"The hub, or a mirror with the same layout. Default ${default}."`
	TokenFile string `placeholder:"FILE" help:"File that holds the access token. Default: the variable HF_TOKEN."`
}

// Help is shown by 'holdfast pull --help'.
func (pullCmd) Help() string {
	return `Fetches a file of a model repository, checks it against the digest that the hub states, and prints its path. If the file is there already and right, nothing is fetched.

What was cut off goes on where it stopped: a lost connection by itself, anything else when the command is run again. Until it is whole and checked the file does not have its name. A token is needed for private and gated repositories only; it goes to the endpoint alone, never to a host that the endpoint redirects to.

Examples:
  holdfast pull OWNER/NAME model.Q4_1.gguf
  holdfast serve --model "$(holdfast pull OWNER/NAME model.Q4_1.gguf)"
  HF_TOKEN=$(cat token) holdfast pull OWNER/GATED model.gguf --dir /srv/models`
}

const maxTokenBytes = 4 << 10

// Run fetches the file and prints its path on stdout.
func (c *pullCmd) Run(std streams) error {
	token, err := c.token()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return fmt.Errorf("pull: %w: give another --dir", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	src := pull.Source{Endpoint: c.Endpoint, Repo: c.Repo, Revision: c.Revision, File: c.File, Token: token}
	r, err := pull.Fetch(ctx, src, filepath.Join(c.Dir, path.Base(c.File)), progress(std.err))
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("pull: interrupted: run it again to go on from here")
	case err != nil:
		return fmt.Errorf("pull: %w", err)
	case r.Digest == "":
		fmt.Fprintln(std.err, "holdfast: pull: the hub states no digest: only the size was checked")
	}
	_, err = fmt.Fprintln(std.out, r.Path)
	return err
}

// token reads the token. It may not come from a flag: others on the machine see
// a process's arguments.
func (c *pullCmd) token() (string, error) {
	if c.TokenFile == "" {
		return strings.TrimSpace(os.Getenv("HF_TOKEN")), nil
	}
	data, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return "", fmt.Errorf("pull: %w", err)
	}
	if token := strings.TrimSpace(string(data)); token != "" && len(data) <= maxTokenBytes {
		return token, nil
	}
	return "", fmt.Errorf("pull: %s: holds no token: write it there, and nothing else", c.TokenFile)
}
