package builtin

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/genericcorp/corp"
)

const (
	maxEventBytes  = 8 << 20  // one server-sent event
	maxAnswerBytes = 32 << 20 // one answer, all its deltas
)

// errCut says that an answer did not arrive whole. Nothing of it was carried
// out, so asking again is safe.
var errCut = errors.New("the stream ended in the middle of the answer")

// answer is one whole answer of the model.
type answer struct {
	Blocks     []block
	StopReason string // in the words of the Messages dialect
	Usage      corp.Usage
}

// hearing is told of an answer while it arrives.
type hearing struct {
	text    func(string)
	thought func(string)
}

// events reads server-sent events and gives the data of each to do, until do
// says that it was the last one.
func events(r io.Reader, do func(data []byte) (last bool, err error)) error {
	in := bufio.NewReaderSize(r, 32<<10)
	var data []byte
	for {
		line, err := readEventLine(in)
		if err != nil {
			return err
		}
		if field, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			if len(data) > 0 {
				data = append(data, '\n')
			}
			data = append(data, bytes.TrimPrefix(field, []byte(" "))...)
			if len(data) > maxEventBytes {
				return fmt.Errorf("an event is longer than %d bytes: %w", maxEventBytes, errCut)
			}
			continue
		}
		if len(line) > 0 || len(data) == 0 {
			continue // a comment, another field, or nothing to dispatch
		}
		last, err := do(data)
		if last || err != nil {
			return err
		}
		data = data[:0]
	}
}

func readEventLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return bytes.TrimRight(line, "\r\n"), nil
		case len(line) > maxEventBytes:
			return nil, fmt.Errorf("a line is longer than %d bytes: %w", maxEventBytes, errCut)
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return nil, errCut
		default:
			return nil, fmt.Errorf("%w: %w", errCut, err)
		}
	}
}

type streamEvent struct {
	Type    string `json:"type"`
	Index   int    `json:"index"`
	Message struct {
		Usage json.RawMessage `json:"usage"`
	} `json:"message"`
	Block block `json:"content_block"`
	Delta struct {
		Type       string `json:"type"`
		Text       string `json:"text"`
		Thinking   string `json:"thinking"`
		Signature  string `json:"signature"`
		JSON       string `json:"partial_json"`
		StopReason string `json:"stop_reason"`
	} `json:"delta"`
	Usage json.RawMessage `json:"usage"`
	Error vendorFault     `json:"error"`
}

// part is one block while it arrives: what its start said, and its deltas.
type part struct {
	start                            block
	text, thinking, signature, input strings.Builder
}

// collector puts an answer together from its events.
type collector struct {
	hear   hearing
	answer answer
	usage  wireUsage
	parts  []*part
	size   int
}

// readAnswer reads one streamed answer. An error event comes back as
// *vendorError, anything short of a whole answer as errCut.
func readAnswer(r io.Reader, hear hearing) (answer, error) {
	c := &collector{hear: hear}
	if err := events(r, c.take); err != nil {
		return answer{}, err
	}
	for _, p := range c.parts {
		c.answer.Blocks = append(c.answer.Blocks, p.block())
	}
	c.answer.Usage = c.usage.usage()
	return c.answer, nil
}

func (p *part) block() block {
	b := p.start
	switch b.Type {
	case blockText:
		b.Text += p.text.String()
	case blockThinking:
		thinking := p.thinking.String()
		if b.Thinking != nil {
			thinking = *b.Thinking + thinking
		}
		b.Thinking = &thinking
		b.Signature += p.signature.String()
	case blockToolUse:
		if p.input.Len() > 0 {
			b.Input = json.RawMessage(p.input.String())
		}
	}
	return b
}

func (c *collector) take(data []byte) (bool, error) {
	var e streamEvent
	if err := json.Unmarshal(data, &e); err != nil {
		return false, fmt.Errorf("an event is malformed: %w", errCut)
	}
	switch e.Type {
	case "message_start":
		return false, c.count(e.Message.Usage)
	case "content_block_start":
		return false, c.begin(e)
	case "content_block_delta":
		return false, c.delta(e)
	case "message_delta":
		if e.Delta.StopReason != "" {
			c.answer.StopReason = e.Delta.StopReason
		}
		return false, c.count(e.Usage)
	case "message_stop":
		return true, nil
	case "error":
		return false, &vendorError{fault: e.Error}
	default:
		return false, nil // ping, content_block_stop, and what is yet to be invented
	}
}

func (c *collector) count(raw json.RawMessage) error {
	if len(raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, &c.usage); err != nil {
		return fmt.Errorf("the usage is malformed: %w", errCut)
	}
	return nil
}

func (c *collector) begin(e streamEvent) error {
	if e.Index != len(c.parts) {
		return fmt.Errorf("content block %d begins out of order: %w", e.Index, errCut)
	}
	c.parts = append(c.parts, &part{start: e.Block})
	if e.Block.Type == blockText && e.Block.Text != "" {
		c.hear.text(e.Block.Text)
	}
	return c.grow(len(e.Block.Text) + len(e.Block.Input) + len(e.Block.Data))
}

func (c *collector) grow(n int) error {
	c.size += n
	if c.size > maxAnswerBytes {
		return fmt.Errorf("the answer is longer than %d bytes: %w", maxAnswerBytes, errCut)
	}
	return nil
}

func (c *collector) delta(e streamEvent) error {
	if e.Index < 0 || e.Index >= len(c.parts) {
		return fmt.Errorf("a delta is of block %d, which has not begun: %w", e.Index, errCut)
	}
	p := c.parts[e.Index]
	switch e.Delta.Type {
	case "text_delta":
		p.text.WriteString(e.Delta.Text)
		c.hear.text(e.Delta.Text)
	case "thinking_delta":
		p.thinking.WriteString(e.Delta.Thinking)
		c.hear.thought(e.Delta.Thinking)
	case "signature_delta":
		p.signature.WriteString(e.Delta.Signature)
	case "input_json_delta":
		p.input.WriteString(e.Delta.JSON)
	}
	return c.grow(len(e.Delta.Text) + len(e.Delta.Thinking) + len(e.Delta.JSON) + len(e.Delta.Signature))
}
