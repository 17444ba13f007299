package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/cmd/corp/terminal"
)

// newLogger writes JSON lines, or text for people, at the level and above.
func newLogger(w io.Writer, format, level string) *slog.Logger {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		least = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: least}
	if format == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(terminal.Escaping(w), options))
}

// checkLog refuses a format or level that newLogger would take for another one.
func checkLog(format, level string) error {
	if format != "json" && format != "text" {
		return usageError{corp.Invalid("log-format", fmt.Sprintf("%q is not a log format.", format), "Use json or text.")}
	}
	switch strings.ToLower(level) {
	case "debug", "info", "warn", "error":
		return nil
	default:
		return usageError{corp.Invalid("log-level", fmt.Sprintf("%q is not a log level.", level), "Use debug, info, warn or error.")}
	}
}
