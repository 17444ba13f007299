package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/genericcorp/corp/cmd/corp/terminal"
)

// Attack case 55. Control: what was logged is read back, letter by letter.
func TestNothingInALogLineBeginsAnotherOrActsOnATerminal(t *testing.T) {
	t.Parallel()
	for _, evil := range []string{
		"x\r\n{\"level\":\"ERROR\",\"msg\":\"forged\"}", "x\nlevel=ERROR msg=forged", "\x1b[2J\x1b]0;title\x07", "\u009b31m", "\x7f\x08", "\u202egnp.exe", "\u2066x\u2069", "a\u2028b", "\x00", "\xff\xfe", "=1+1", "ordinary ä 漢字",
	} {
		for _, format := range []string{"json", "text"} {
			var out bytes.Buffer
			newLogger(&out, format, "info").LogAttrs(context.Background(), slog.LevelInfo, "request",
				slog.String("actor", evil), slog.Any("error", errors.New(evil)), slog.Any("list", []string{evil}))
			line := out.String()
			if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") || strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return terminal.Steers(r) }) {
				t.Errorf("%s of %q: %q", format, evil, line)
			}
			if format == "text" {
				continue
			}
			var back struct{ Actor string }
			if err := json.Unmarshal([]byte(line), &back); err != nil || back.Actor != strings.ToValidUTF8(evil, "\uFFFD") && back.Actor != "\uFFFD\uFFFD" {
				t.Errorf("%q comes back as %q, %v", evil, back.Actor, err)
			}
		}
	}
}
