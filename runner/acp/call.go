package acp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Call sends a request and waits for its answer. A peer's error comes back as
// *RPCError. When the context ends first, the peer is told, if it is reading,
// that the answer is not wanted any more. When the connection ends first, the
// error is ErrClosed.
func (c *Conn) Call(ctx context.Context, method string, params any) (json.RawMessage, error) {
	id, answer, err := c.register()
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", method, err)
	}
	defer c.forget(id)
	if err := c.send(ctx, request{Version: rpcVersion, ID: &id, Method: method, Params: params}); err != nil {
		return nil, fmt.Errorf("call %s: %w", method, err)
	}
	select {
	case m := <-answer:
		return m.outcome(method)
	case <-ctx.Done():
		c.offer(request{Version: rpcVersion, Method: methodCancelRequest, Params: map[string]any{"requestId": id}})
		return nil, fmt.Errorf("call %s: %w", method, context.Cause(ctx))
	case <-c.done:
	}
	select { // the answer may have been the last thing that came
	case m := <-answer:
		return m.outcome(method)
	default:
		return nil, fmt.Errorf("call %s: %w", method, c.cause())
	}
}

// Notify sends a notification. It returns when the writer has taken it up;
// notifications of one goroutine are written in order.
func (c *Conn) Notify(ctx context.Context, method string, params any) error {
	if err := c.send(ctx, request{Version: rpcVersion, Method: method, Params: params}); err != nil {
		return fmt.Errorf("notify %s: %w", method, err)
	}
	return nil
}

func (m received) outcome(method string) (json.RawMessage, error) {
	switch {
	case m.Error != nil:
		return nil, fmt.Errorf("call %s: %w", method, m.Error)
	case m.Result == nil:
		return nil, fmt.Errorf("call %s: %w", method, Refuse(CodeInternal, "The peer answered neither a result nor an error."))
	default:
		return m.Result, nil
	}
}

func (c *Conn) register() (int64, chan received, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, nil, c.err
	}
	c.lastID++
	answer := make(chan received, 1)
	c.calls[c.lastID] = answer
	return c.lastID, answer, nil
}

func (c *Conn) forget(id int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, id)
}

func (c *Conn) cause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// send hands a message to the writer, waiting while it is busy.
func (c *Conn) send(ctx context.Context, message any) error {
	line, err := encode(message, c.limit)
	if err != nil {
		return err
	}
	select {
	case c.out <- line:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.dead:
		return ErrClosed
	}
}

// offer hands a message to the writer if it is idle, and drops it otherwise.
func (c *Conn) offer(message any) {
	line, err := encode(message, c.limit)
	if err != nil {
		return
	}
	select {
	case c.out <- line:
	default:
	}
}

// accept takes up a request of the peer. A peer that sends more requests than
// are handled at a time is refused; one that then does not even read the
// refusals is broken, and the connection ends.
func (c *Conn) accept(ctx context.Context, m received) error {
	h, known := c.requests[*m.Method]
	if !known {
		return c.refuse(ctx, m.ID, Refuse(CodeMethodNotFound, "There is no method %.100q here.", *m.Method))
	}
	select {
	case c.slots <- struct{}{}:
	default:
		return c.refuse(ctx, m.ID, Refuse(CodeInvalidRequest, "Too many requests at once; at most %d.", maxHandlers))
	}
	ctx, cancel := context.WithCancel(ctx)
	key := string(m.ID)
	if !c.admit(key, cancel) {
		cancel()
		<-c.slots
		return c.refuse(ctx, m.ID, Refuse(CodeInvalidRequest, "A request with this id is in hand already."))
	}
	work := h(ctx, m.Params)
	c.background(func() {
		defer func() { <-c.slots }()
		defer cancel()
		result, err := work()
		c.mu.Lock()
		delete(c.incoming, key)
		c.mu.Unlock()
		c.answer(ctx, m.ID, result, err)
	})
	return nil
}

// admit notes a request that is in hand, unless its id is taken.
func (c *Conn) admit(key string, cancel context.CancelFunc) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, twice := c.incoming[key]; twice {
		return false
	}
	c.incoming[key] = cancel
	return true
}

// background runs f on a goroutine that Run waits for, unless Run is past waiting.
func (c *Conn) background(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.handlers.Go(f)
	}
}

func (c *Conn) refuse(ctx context.Context, id json.RawMessage, why *RPCError) error {
	select {
	case c.refusals <- struct{}{}:
	default:
		return fmt.Errorf("the peer sends requests and does not read the answers: %w", why)
	}
	c.background(func() {
		c.answer(ctx, id, nil, why)
		<-c.refusals
	})
	return nil
}

// answer sends a request's outcome. The request's own context may have ended;
// the answer is owed all the same, for as long as the connection can write.
func (c *Conn) answer(ctx context.Context, id json.RawMessage, result any, err error) {
	out := response{Version: rpcVersion, ID: id, Result: result}
	switch {
	case errors.Is(err, context.Canceled):
		out = response{Version: rpcVersion, ID: id, Error: Refuse(CodeRequestCancelled, "The request was cancelled.")}
	case err != nil:
		out = response{Version: rpcVersion, ID: id, Error: asRPCError(err)}
	case result == nil:
		out.Result = json.RawMessage("null") // an answer must have a result
	}
	ctx = context.WithoutCancel(ctx)
	err = c.send(ctx, out)
	if err != nil && !errors.Is(err, ErrClosed) { // it could not be encoded
		err = c.send(ctx, response{Version: rpcVersion, ID: id, Error: asRPCError(err)})
	}
	if err != nil {
		c.logger.Debug("answer was not sent", "error", err)
	}
}

func (c *Conn) cancelIncoming(_ context.Context, params json.RawMessage) {
	var p struct {
		RequestID json.RawMessage `json:"requestId"`
	}
	if json.Unmarshal(params, &p) != nil {
		return
	}
	c.mu.Lock()
	cancel, ok := c.incoming[string(p.RequestID)]
	c.mu.Unlock()
	if ok {
		cancel()
	}
}
