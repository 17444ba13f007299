package client

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/genericcorp/corp"
)

// problem is an answer of type application/problem+json (RFC 9457).
type problem struct {
	Title     string    `json:"title"`
	Detail    string    `json:"detail"`
	Kind      corp.Kind `json:"kind"`
	Code      string    `json:"code"`
	Field     string    `json:"field"`
	Hint      string    `json:"hint"`
	RequestID string    `json:"request_id"`
}

// readProblem turns a refusal back into the error it was on the server. What
// does not come from our server (a proxy's page) keeps its status as its kind.
func readProblem(resp *http.Response) error {
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var p problem
	if err := json.Unmarshal(body, &p); err != nil || p.Kind == "" {
		return &corp.Error{
			Kind: kindOfStatus(resp.StatusCode), Code: "not_corp",
			Message: fmt.Sprintf("The server answered with %s.", resp.Status),
			Hint:    "Check that the address is that of a Generic Corp server.",
		}
	}
	err := p.err()
	if wait, odd := strconv.Atoi(resp.Header.Get("Retry-After")); resp.StatusCode == http.StatusTooManyRequests && odd == nil && err.Err != nil {
		err.Err = tooEarlyError{err.Err, time.Duration(wait) * time.Second}
	}
	return err
}

// tooEarlyError is the cause of a refusal of what may come again later.
type tooEarlyError struct {
	cause error
	wait  time.Duration
}

func (e tooEarlyError) Error() string { return e.cause.Error() }
func (e tooEarlyError) Unwrap() error { return e.cause }

// problemOf reads a problem that came inside a stream.
func problemOf(body []byte) error {
	var p problem
	if err := json.Unmarshal(body, &p); err != nil || p.Kind == "" {
		return &corp.Error{Kind: corp.KindInternal, Message: "The server ended the stream with an error that cannot be read.", Hint: "Try again."}
	}
	return p.err()
}

func (p problem) err() *corp.Error {
	e := &corp.Error{Kind: p.Kind, Message: p.Detail, Field: p.Field, Hint: p.Hint}
	if p.Code != string(p.Kind) {
		e.Code = p.Code
	}
	if p.RequestID != "" {
		e.Err = requestError(p.RequestID)
	}
	return e
}

// requestError is the cause of an error that the server answered: what to look for in its log.
type requestError string

func (r requestError) Error() string { return "request " + string(r) }

func kindOfStatus(status int) corp.Kind {
	switch status {
	case http.StatusUnauthorized:
		return corp.KindUnauthenticated
	case http.StatusForbidden:
		return corp.KindForbidden
	case http.StatusNotFound:
		return corp.KindNotFound
	case http.StatusConflict:
		return corp.KindConflict
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusTooManyRequests:
		return corp.KindUnavailable
	case http.StatusInternalServerError:
		return corp.KindInternal
	default:
		return corp.KindInvalid
	}
}
