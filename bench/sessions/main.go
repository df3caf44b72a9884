// Command sessions measures what durable sessions cost and give: the time to the
// first token after a restart beside a turn that needs none and beside
// llama-server's saved slots, a session of 43 turns, forks, parked sessions, and
// what the log costs those that stream. It writes a table, JSON and plots.
//
//	go run ./bench/sessions -model models/SmolLM2-135M-Instruct.Q4_1.gguf
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/holdfast-run/holdfast/internal/plot"
	"github.com/holdfast-run/holdfast/internal/sysinfo"
)

type config struct {
	model, holdfast, peer string
	threads               int
	only                  string
	rounds, longest       int
}

// results is what was found, by section.
type results struct {
	Sections map[string]*section `json:"sections"`
}

// section is one run of one of the sections.
type section struct {
	Date    string `json:"date"`
	Machine string `json:"machine"`
	Go      string `json:"go"`
	Threads int    `json:"threads"`
	Model   string `json:"model"`
	Rounds  int    `json:"rounds"`
	// GHz is sysinfo.Clock before and after: how much of the machine there was.
	GHz    [2]float64   `json:"ghz"`
	Tables []table      `json:"tables"`
	Charts []plot.Chart `json:"charts,omitempty"`
}

// table is figures.
type table struct {
	Title  string     `json:"title"`
	Notes  string     `json:"notes,omitempty"`
	Header []string   `json:"header"`
	Rows   [][]string `json:"rows"`
}

func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		switch c := c.(type) {
		case time.Duration:
			row[i] = fmt.Sprintf("%.1f", c.Seconds()*1e3)
		case float64:
			row[i] = fmt.Sprintf("%.2f", c)
		default:
			row[i] = fmt.Sprint(c)
		}
	}
	t.Rows = append(t.Rows, row)
}

var sections = []struct {
	name string
	run  func(*config, *section) error
}{
	{"resume", resume}, {"turns", turns}, {"forks", forks}, {"parked", parked}, {"streams", streams},
}

func main() {
	c := &config{}
	out := flag.String("out", "bench/results/sessions", "file to write, without its extension")
	flag.StringVar(&c.model, "model", "models/SmolLM2-135M-Instruct.Q4_1.gguf", "GGUF file")
	flag.StringVar(&c.holdfast, "holdfast", "bin/holdfast", "the worker")
	flag.StringVar(&c.peer, "peer", "build/peer/bin/llama-server", "llama-server; it is left out if it is not there")
	flag.IntVar(&c.threads, "threads", runtime.NumCPU(), "compute threads, of both")
	flag.StringVar(&c.only, "only", "", "one section: resume, turns, forks, parked or streams")
	flag.IntVar(&c.rounds, "rounds", 3, "how often a figure is taken; the median is told")
	flag.IntVar(&c.longest, "longest", 7000, "most tokens of context of a resume")
	flag.Parse()
	if err := run(c, *out); err != nil {
		fmt.Fprintln(os.Stderr, "sessions:", err)
		os.Exit(1)
	}
}

func run(c *config, out string) error {
	if _, err := os.Stat(c.peer); err != nil {
		fmt.Fprintln(os.Stderr, "sessions: no llama-server: 'make bench-sessions' builds it")
		c.peer = ""
	}
	r, err := readResults(out + ".json")
	if err != nil {
		return err
	}
	for _, s := range sections {
		if c.only != "" && c.only != s.name {
			continue
		}
		fmt.Fprintln(os.Stderr, "sessions:", s.name)
		found := &section{
			Date: time.Now().Format(time.DateOnly), Machine: machine(), Go: runtime.Version(), Threads: c.threads, Model: filepath.Base(c.model), Rounds: c.rounds,
		}
		found.GHz[0] = sysinfo.Clock(c.threads) / 1e9
		if err := s.run(c, found); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		found.GHz[1] = sysinfo.Clock(c.threads) / 1e9
		r.Sections[s.name] = found
		if err := r.write(out); err != nil {
			return err
		}
	}
	return nil
}

// machine names the processor.
func machine() string { return fmt.Sprintf("%s, %d cores", sysinfo.CPUName(), runtime.NumCPU()) }

// readResults reads what earlier runs found, of which this one replaces its sections.
func readResults(name string) (*results, error) {
	r := &results{}
	text, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(text, r)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w; remove it to begin anew", name, err)
	}
	if r.Sections == nil {
		r.Sections = map[string]*section{}
	}
	return r, nil
}

// write writes the results as JSON, Markdown and SVG.
func (r *results) write(out string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(out+".json", append(data, '\n'), 0o644); err != nil {
		return err
	}
	var b strings.Builder
	var charts []plot.Chart
	fmt.Fprint(&b, "# Durable sessions\n\nWritten by `make bench-sessions`.\n")
	for _, s := range sections {
		if found := r.Sections[s.name]; found != nil {
			found.describe(&b)
			charts = append(charts, found.Charts...)
		}
	}
	fmt.Print(b.String())
	if err := os.WriteFile(out+".md", []byte(b.String()), 0o644); err != nil || len(charts) == 0 {
		return err
	}
	f, err := os.Create(out + ".svg")
	if err != nil {
		return err
	}
	defer f.Close()
	return plot.SVG(f, charts...)
}

// describe writes a section as Markdown.
func (s *section) describe(b *strings.Builder) {
	for _, t := range s.Tables {
		fmt.Fprintf(b, "\n## %s\n\n", t.Title)
		if t.Notes != "" {
			fmt.Fprintf(b, "%s\n\n", t.Notes)
		}
		fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(t.Header, " | "), strings.Repeat(" --- |", len(t.Header)))
		for _, row := range t.Rows {
			fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
		}
	}
	fmt.Fprintf(b, "\n%s, %s, %s, %d threads, %s, %d rounds; clock %.1f GHz before, %.1f GHz after.\n",
		s.Date, s.Machine, s.Go, s.Threads, s.Model, s.Rounds, s.GHz[0], s.GHz[1])
}
