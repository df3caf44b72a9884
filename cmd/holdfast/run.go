package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/holdfast-run/holdfast/chat"
	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/sampler"
)

type runCmd struct {
	modelFlags
	Prompt    string  `short:"p" placeholder:"TEXT" help:"Answer this and stop."`
	System    string  `placeholder:"TEXT" help:"A system message before the conversation."`
	Temp      float64 `default:"0.8" placeholder:"T" help:"Temperature, 0 to 2; 0 always takes the likeliest token. Default ${default}."`
	TopP      float64 `name:"top-p" default:"0.95" placeholder:"P" help:"Sample from the likeliest tokens that have this much probability together, above 0 to 1. Default ${default}."`
	Seed      *uint64 `placeholder:"N" help:"Seed of the first answer; the next ones count up from it. The same seed gives the same answers. Default: random."`
	MaxTokens int     `placeholder:"N" help:"Most tokens of an answer. Default: up to the end of the context."`
}

// Help is shown by 'holdfast run --help'.
func (runCmd) Help() string {
	return `Loads a model into this process; no server is needed.

With -p it answers that one prompt; a model without a chat template continues it as text. If the input is no terminal it is read to its end and taken as the one prompt. Only the answer goes to stdout.

Otherwise it is a conversation: type a message and Enter. Ctrl-C stops an answer, /clear forgets the conversation, Ctrl-D leaves.

Examples:
  holdfast run --model models/SmolLM2-135M-Instruct.Q4_1.gguf
  holdfast run --model m.gguf --temp 0 -p "What is the capital of France?"
  git diff | holdfast run --model m.gguf --system "Summarise this change."`
}

// Validate is called by the flag parser.
func (c *runCmd) Validate() error {
	if err := c.modelFlags.Validate(); err != nil {
		return err
	}
	if c.MaxTokens < 0 {
		return fmt.Errorf("--max-tokens is %d; give 1 or more", c.MaxTokens)
	}
	p := sampler.Params{Temperature: c.Temp, TopP: c.TopP}
	if err := p.Validate(); err != nil {
		return fmt.Errorf("--temp or --top-p: %w", err)
	}
	return nil
}

// maxLineBytes is the longest line, and the largest piped prompt, that is read.
const maxLineBytes = 4 << 20

// Run answers one prompt or holds a conversation.
func (c *runCmd) Run(std streams) error {
	prompt, talk := c.Prompt, false
	if prompt == "" {
		if talk = isTerminal(std.in); !talk {
			data, err := io.ReadAll(io.LimitReader(std.in, maxLineBytes+1))
			if err != nil {
				return fmt.Errorf("stdin: %w", err)
			}
			if len(data) > maxLineBytes {
				return fmt.Errorf("stdin: more than %s: give a shorter prompt", bytesText(maxLineBytes))
			}
			if prompt = strings.TrimSpace(string(data)); prompt == "" {
				return usagef("run: nothing to answer: give -p TEXT or pipe a text in")
			}
		}
	}
	e, err := openModel(context.Background(), c.config(), nil, false)
	if err != nil {
		return err
	}
	defer e.Close()
	d := &dialog{e: e, out: std.out, maxTokens: c.MaxTokens, once: !talk}
	d.params = sampler.Params{Temperature: c.Temp, TopP: c.TopP, Seed: rand.Uint64()}
	if c.Seed != nil {
		d.params.Seed = *c.Seed
	}
	if c.System != "" {
		d.system = []chat.Message{{Role: "system", Content: c.System}}
	}
	d.clear()
	if !talk {
		if err := d.answer(context.Background(), prompt); err != nil {
			return runError(err)
		}
		return nil
	}
	return d.talk(std)
}

// dialog is a conversation with a model.
type dialog struct {
	e         *engine.Engine
	out       io.Writer
	params    sampler.Params
	maxTokens int
	once      bool // one prompt, and no conversation
	system    []chat.Message
	messages  []chat.Message
}

func (d *dialog) clear() { d.messages = append([]chat.Message(nil), d.system...) }

// bare reports whether all there is is one prompt: a model that knows no
// conversation, for want of a template, continues it as text.
func (d *dialog) bare() bool { return d.once && len(d.system) == 0 }

// talk reads messages until the input ends.
func (d *dialog) talk(std streams) error {
	fmt.Fprintf(std.err, "%s: Enter sends, Ctrl-C stops an answer, /clear forgets, Ctrl-D leaves.\n", d.e.Info().ID)
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)
	lines, ended := readLines(std.in)
	for {
		fmt.Fprint(std.err, "> ")
		select {
		case <-interrupts: // at the prompt it stops nothing
			fmt.Fprintln(std.err)
		case line := <-lines:
			d.take(line, interrupts, std.err)
		case err := <-ended:
			fmt.Fprintln(std.err)
			return err
		}
	}
}

// readLines sends each line on lines, and then why there is no further one. Its
// goroutine lives as long as somebody may still type.
func readLines(r io.Reader) (lines <-chan string, ended <-chan error) {
	text, end := make(chan string), make(chan error, 1)
	go func() {
		s := bufio.NewScanner(r)
		s.Buffer(nil, maxLineBytes)
		for s.Scan() {
			text <- s.Text()
		}
		end <- s.Err()
	}()
	return text, end
}

// take does what a line says.
func (d *dialog) take(line string, interrupts <-chan os.Signal, errs io.Writer) {
	switch line = strings.TrimSpace(line); line {
	case "":
	case "/clear":
		d.clear()
	default:
		if err := d.interruptible(interrupts, line); err != nil {
			fmt.Fprintln(errs, "holdfast: "+runError(err).Error())
		}
	}
}

// interruptible answers until the end or a signal; what was said until then
// stays in the conversation.
func (d *dialog) interruptible(interrupts <-chan os.Signal, text string) error {
	ctx, cancel := context.WithCancel(context.Background())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-interrupts:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := d.answer(ctx, text)
	cancel()
	<-watched
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// answer adds a message and the model's answer to the conversation, and prints
// the answer as it comes. If nothing was answered, the message is taken back.
func (d *dialog) answer(ctx context.Context, text string) error {
	messages := append(d.messages, chat.Message{Role: "user", Content: text})
	tokens, err := d.e.EncodeChat(chat.Input{Messages: messages, AddGenerationPrompt: true, Now: time.Now()})
	if errors.Is(err, engine.ErrNoTemplate) && d.bare() {
		tokens, err = worker{Engine: d.e}.Encode(text, true), nil
	}
	if err != nil {
		return err
	}
	g, err := d.e.Generate(ctx, engine.Request{ID: "run", Tokens: tokens, MaxTokens: d.maxTokens, Params: d.params})
	if err != nil {
		return err
	}
	defer g.Close()
	d.params.Seed++
	var said strings.Builder
	for {
		var piece engine.Delta
		if piece, err = g.Next(); err != nil {
			break
		}
		said.WriteString(piece.Text)
		if _, err = io.WriteString(d.out, piece.Text); err != nil {
			return fmt.Errorf("stdout: %w", err)
		}
	}
	if !strings.HasSuffix(said.String(), "\n") {
		fmt.Fprintln(d.out)
	}
	if said.Len() > 0 || errors.Is(err, io.EOF) {
		d.messages = append(messages, chat.Message{Role: "assistant", Content: said.String()})
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func runError(err error) error {
	var long *engine.ContextLengthError
	if errors.As(err, &long) {
		return fmt.Errorf("context: the conversation has %d tokens and the answer asks for %d, the context holds %d: give a larger --context, a smaller --max-tokens or /clear",
			long.Prompt, max(long.MaxTokens, 1), long.Limit)
	}
	return fmt.Errorf("run: %s", trim(err))
}
