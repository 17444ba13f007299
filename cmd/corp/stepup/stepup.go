// Package stepup gives a password once more on the command line, for what is worth
// stealing a session for. It reads it from standard input alone: what stands on a
// command line is seen by others.
package stepup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// Proof is a command's, from its flag.
type Proof struct {
	In io.Reader

	from string
}

// Flag adds it.
func (p *Proof) Flag(flags *pflag.FlagSet) {
	flags.StringVar(&p.from, "password", "", "-: your password is read from standard input, and your one-time code from a second line; needed when you gave the last one more than ten minutes ago")
}

// Give does something that needs a fresh proof, with the one on standard input if
// there is to be one. Without one that is needed the error says how to give it.
func (p *Proof) Give(ctx context.Context, c *client.Client, do func() error) error {
	switch p.from {
	case "":
	case "-":
		again, err := p.read()
		if err != nil {
			return err
		}
		if err := c.StepUp(ctx, again); err != nil {
			return err
		}
	default:
		return corp.Invalid("password", "A password on the command line is seen by others.", "Write --password - and give it on standard input.")
	}
	err := do()
	if e, is := errors.AsType[*corp.Error](err); is && e.Code == "step_up" {
		told := *e
		told.Hint = "Add --password - and give it on standard input, with your one-time code on a second line if you have one."
		return &told
	}
	return err
}

// read reads the password as it is typed, and the code.
func (p *Proof) read() (client.Again, error) {
	lines := bufio.NewReader(p.In)
	password, err := line(lines)
	if err != nil {
		return client.Again{}, err
	}
	if password == "" {
		return client.Again{}, corp.Invalid("password", "There is no password on standard input.", "Write it there on one line.")
	}
	code, err := line(lines)
	return client.Again{Password: password, Code: strings.TrimSpace(code)}, err
}

// line reads one, the last of which need not end; there may be none.
func line(from *bufio.Reader) (string, error) {
	text, err := from.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password from standard input: %w", err)
	}
	return strings.TrimRight(text, "\r\n"), nil
}
