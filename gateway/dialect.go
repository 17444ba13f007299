package gateway

import (
	"io"
	"net/http"
	"net/url"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway/anthropic"
	"github.com/genericcorp/corp/gateway/openai"
	"github.com/genericcorp/corp/gateway/wire"
)

// Dialect is one wire protocol: what the gateway must know of it to let a call
// through, count it and word a refusal. Everything else passes unread.
type Dialect interface {
	Name() string
	// Key returns the credential that a client sent, or "".
	Key(h http.Header) string
	// Authorize puts the vendor's key ("" when it takes none) in place of the client's.
	Authorize(h http.Header, key string)
	// Path returns the path at a vendor for one that a client asked for.
	Path(base *url.URL, asked string) string
	// RequestID is the header in which an answer is named.
	RequestID() string
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
	// Capped says whether the vendor obeys the output cap as the request names it.
	Capped(vendor string) bool
	// Rewrite returns the body with the edits made, and every other byte as it was,
	// in pieces that lie in it.
	Rewrite(body []byte, e Edits) [][]byte
	// Meter counts the answer, which has this content type.
	Meter(contentType string) Meter
	// Filter takes out of an answer what the gateway alone has asked for; nil when
	// the answer passes as it is.
	Filter(contentType string) Filter
}

// Edits are what the gateway changes in a body, beside what the dialect needs for
// the count.
type Edits struct {
	Model     string // "" keeps it
	MaxTokens int64  // of one answer; 0 keeps it
	Vendor    string // that the request goes to
}

// Asked is what a request asks for.
type Asked struct {
	Model     string
	MaxTokens int64 // of one answer; 0 when it names none
	Choices   int64 // answers, at least 1
	Stream    bool
	LongCache bool
	AddsUsage bool // the gateway must ask for the usage in the client's place
}

// Meter reads an answer as it passes. Its Write never fails.
type Meter interface {
	io.Writer
	Reading() Reading
}

// Filter changes an answer as it passes. What it returns is valid until its next call.
type Filter interface {
	// Pass takes a piece of any size and returns what may go on.
	Pass(p []byte) []byte
	// Rest returns what is held back when the answer has ended.
	Rest() []byte
}

// Reading is what an answer says about itself.
type Reading = wire.Reading

// spoken returns the dialect of a request: each has paths of its own. For those
// that they share the credential tells, which they send differently.
func spoken(r *http.Request) Dialect {
	switch {
	case r.URL.Path == pathChat:
		return chat{}
	case r.URL.Path == pathModels && r.Header.Get("X-Api-Key") == "" && r.Header.Get("Anthropic-Version") == "":
		return chat{}
	default:
		return messages{}
	}
}

// messages is the Anthropic Messages dialect.
type messages struct{}

func (messages) Name() string                        { return corp.DialectAnthropic }
func (messages) Key(h http.Header) string            { return anthropic.Key(h) }
func (messages) Authorize(h http.Header, key string) { anthropic.Authorize(h, key) }
func (messages) Problem(body []byte) string          { return anthropic.Problem(body) }
func (messages) RequestID() string                   { return "Request-Id" }

func (messages) Path(base *url.URL, asked string) string { return base.Path + asked }

func (messages) Parse(body []byte, h http.Header) (Request, error) {
	r, err := anthropic.Parse(body, h)
	return messagesRequest{r}, err
}

func (messages) Refusal(status int, message, requestID string) []byte {
	return anthropic.Refusal(status, message, requestID)
}

type messagesRequest struct{ anthropic.Request }

func (r messagesRequest) Asked() Asked {
	return Asked{Model: r.Model, MaxTokens: r.MaxTokens, Choices: 1, Stream: r.Stream, LongCache: r.LongCache}
}

func (r messagesRequest) Capped(string) bool { return r.MaxTokens > 0 }

func (r messagesRequest) Rewrite(body []byte, e Edits) [][]byte {
	return r.Request.Rewrite(body, e.Model, e.MaxTokens)
}

func (messagesRequest) Filter(string) Filter { return nil }

func (r messagesRequest) Meter(contentType string) Meter {
	return anthropic.NewMeter(r.Request, contentType)
}

// chat is the OpenAI Chat Completions dialect.
type chat struct{}

func (chat) Name() string                            { return corp.DialectOpenAI }
func (chat) Key(h http.Header) string                { return openai.Key(h) }
func (chat) Authorize(h http.Header, key string)     { openai.Authorize(h, key) }
func (chat) Problem(body []byte) string              { return openai.Problem(body) }
func (chat) RequestID() string                       { return "X-Request-Id" }
func (chat) Path(base *url.URL, asked string) string { return openai.Path(base, asked) }

func (chat) Parse(body []byte, _ http.Header) (Request, error) {
	r, err := openai.Parse(body)
	return chatRequest{r}, err
}

func (chat) Refusal(status int, message, _ string) []byte { return openai.Refusal(status, message) }

type chatRequest struct{ openai.Request }

func (r chatRequest) Asked() Asked {
	return Asked{
		Model: r.Model, MaxTokens: r.MaxTokens(), Choices: r.Choices, Stream: r.Stream,
		LongCache: r.LongCache, AddsUsage: r.AddsUsage(),
	}
}

func (r chatRequest) InputBound(bodyBytes int, _ int64) int64 { return r.Request.InputBound(bodyBytes) }

func (r chatRequest) BoundNeeds(int64) string { return r.Unbounded }

func (r chatRequest) Rewrite(body []byte, e Edits) [][]byte {
	return r.Request.Rewrite(body, e.Model, e.MaxTokens, e.Vendor)
}

func (r chatRequest) Meter(contentType string) Meter { return openai.NewMeter(r.Request, contentType) }

func (r chatRequest) Filter(contentType string) Filter {
	if r.AddsUsage() && wire.IsStream(contentType) {
		return openai.NewFilter()
	}
	return nil
}
