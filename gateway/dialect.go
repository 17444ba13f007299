package gateway

import (
	"io"
	"net/http"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway/anthropic"
)

// Dialect is one wire protocol: what the gateway must know of it to let a call
// through, count it and word a refusal. Everything else passes unread.
type Dialect interface {
	Name() string
	// Key returns the credential that a client sent, or "".
	Key(h http.Header) string
	// Authorize puts the vendor's key in place of the client's.
	Authorize(h http.Header, key string)
	// Parse reads a request; it refuses what two parsers might read differently.
	Parse(body []byte, h http.Header) (Request, error)
	// Problem returns what an error body says, or "".
	Problem(body []byte) string
	// Refusal returns an error body in the dialect's own form.
	Refusal(status int, message, requestID string) []byte
}

// Request is one parsed request.
type Request interface {
	Asked() Asked
	// InputBound returns the most tokens the prompt can have; window is the model's.
	InputBound(bodyBytes int, window int64) int64
	// BoundNeeds says why the prompt has no such bound; "" when it has one.
	BoundNeeds(window int64) string
	// LeastOutput returns how far the output cap may sink, at least to floor.
	LeastOutput(floor int64) int64
	// Rewrite returns the body with the model ("" keeps it) and the output cap (0
	// keeps it) replaced, and every other byte as it was, in pieces that lie in it.
	Rewrite(body []byte, model string, limit int64) [][]byte
	// Meter counts the answer, which has this content type.
	Meter(contentType string) Meter
}

// Asked is what a request asks for.
type Asked struct {
	Model     string
	MaxTokens int64 // 0 when it names none
	Stream    bool
	LongCache bool
}

// Meter reads an answer as it passes. Its Write never fails.
type Meter interface {
	io.Writer
	Reading() Reading
}

// Reading is what an answer says about itself. The first dialect's words are
// those of the seam until a second one shows which of them differ.
type Reading = anthropic.Reading

// messages is the Anthropic Messages dialect.
type messages struct{}

func (messages) Name() string                        { return corp.DialectAnthropic }
func (messages) Key(h http.Header) string            { return anthropic.Key(h) }
func (messages) Authorize(h http.Header, key string) { anthropic.Authorize(h, key) }
func (messages) Problem(body []byte) string          { return anthropic.Problem(body) }

func (messages) Parse(body []byte, h http.Header) (Request, error) {
	r, err := anthropic.Parse(body, h)
	return messagesRequest{r}, err
}

func (messages) Refusal(status int, message, requestID string) []byte {
	return anthropic.Refusal(status, message, requestID)
}

type messagesRequest struct{ anthropic.Request }

func (r messagesRequest) Asked() Asked {
	return Asked{Model: r.Model, MaxTokens: r.MaxTokens, Stream: r.Stream, LongCache: r.LongCache}
}

func (r messagesRequest) Meter(contentType string) Meter {
	return anthropic.NewMeter(r.Request, contentType)
}
