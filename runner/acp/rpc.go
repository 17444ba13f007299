package acp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// The error codes of JSON-RPC 2.0 and of the protocol.
const (
	CodeInvalidRequest   = -32600
	CodeMethodNotFound   = -32601
	CodeInvalidParams    = -32602
	CodeInternal         = -32603
	CodeAuthRequired     = -32000
	CodeNotFound         = -32002
	CodeRequestCancelled = -32800
)

// ErrClosed is in the chain of every error that a call gets because the
// connection ended before its answer came.
var ErrClosed = errors.New("the connection is closed")

// ErrTooLong is in the chain of the error that ends a connection whose peer
// sent a longer message than allowed, or of a call that is too long to send.
var ErrTooLong = errors.New("the message is too long")

// RPCError is the error that a peer answered, or that a handler answers with.
type RPCError struct {
	Code    int             `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// Error returns the peer's message, its code and what it added.
func (e *RPCError) Error() string {
	if len(e.Data) > 0 {
		return fmt.Sprintf("%s (code %d, %.500s)", e.Message, e.Code, e.Data)
	}
	return fmt.Sprintf("%s (code %d)", e.Message, e.Code)
}

// Refuse makes the error that a handler answers with.
func Refuse(code int, format string, args ...any) *RPCError {
	return &RPCError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// received is a message from the peer: a request, a notification or an answer.
type received struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Method  *string         `json:"method"`
	Params  json.RawMessage `json:"params"`
	Result  json.RawMessage `json:"result"`
	Error   *RPCError       `json:"error"`
}

type request struct {
	Version string `json:"jsonrpc"`
	ID      *int64 `json:"id,omitempty"` // none in a notification
	Method  string `json:"method"`
	Params  any    `json:"params,omitempty"`
}

type response struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  any             `json:"result,omitempty"`
	Error   *RPCError       `json:"error,omitempty"`
}

const rpcVersion = "2.0"

// encode renders one message as one line. Signs like < stay as they are: code
// is full of them, and escaped they would be longer and unreadable in a log.
func encode(message any, limit int) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(message); err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	if b.Len() > limit {
		return nil, fmt.Errorf("encode message of %d bytes, at most %d are allowed: %w", b.Len(), limit, ErrTooLong)
	}
	return b.Bytes(), nil
}

// decode reads one message, or reports that the line is none.
func decode(line []byte) (received, bool) {
	var m received
	if err := json.Unmarshal(line, &m); err != nil || m.Version != rpcVersion {
		return received{}, false
	}
	return m, m.Method != nil || len(m.ID) > 0
}

func asRPCError(err error) *RPCError {
	if e, ok := errors.AsType[*RPCError](err); ok {
		return e
	}
	return &RPCError{Code: CodeInternal, Message: err.Error()}
}
