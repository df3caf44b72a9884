package main

import (
	"bytes"
	"io"
	"log/slog"
)

// newLogger returns a logger, and a writer for the lines that a start and a stop
// print: as they are beside a log in text, as records of a log in JSON, so that
// everything on stderr is of one kind. level is a value of --log-level.
func newLogger(w io.Writer, format, level string) (*slog.Logger, io.Writer) {
	options := &slog.HandlerOptions{Level: logLevels[level]}
	if format == "json" {
		log := slog.New(slog.NewJSONHandler(w, options))
		return log, lineWriter{log}
	}
	return slog.New(slog.NewTextHandler(w, options)), w
}

var logLevels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

// lineWriter logs each line that is written; a write holds whole lines.
type lineWriter struct{ log *slog.Logger }

func (l lineWriter) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		l.log.Info(string(bytes.TrimSpace(line)))
	}
	return len(b), nil
}
