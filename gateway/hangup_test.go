package gateway_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/vendorsim"
)

// A client that hangs up on a slow vendor ends the vendor's work too, its place
// among the run's calls is free, and the call is settled at no less than the
// vendor bills, whichever of the two ways vendors bill such calls by.
func TestAClientThatHangsUpOnASlowVendorEndsTheCall(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reply  string
		chat   bool
		stream bool
	}{
		"a stream of a vendor that stops":   {"on_hangup: stop, pace: {chunk: 40, between: 200ms}", false, true},
		"a stream of one that goes on":      {"on_hangup: finish, pace: {chunk: 40, between: 200ms}", false, true},
		"before the first byte":             {"on_hangup: stop, pace: {first_byte: 1h}", false, true},
		"an answer in one piece":            {"on_hangup: stop, pace: {first_byte: 1h}", false, false},
		"a chat stream":                     {"on_hangup: stop, pace: {chunk: 40, between: 200ms}", true, true},
		"a chat stream of one that goes on": {"on_hangup: finish, pace: {chunk: 40, between: 200ms}", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			vendor := simulated(t, "  - {name: slow, reply: {text_bytes: 40000, "+c.reply+"}}\n")
			a := newChatWorld(t, vendor, func(c *gateway.Config) { c.Times.Drain = time.Second }).run(corp.Dollar)
			ctx, hangUp := context.WithCancel(t.Context())
			defer hangUp()
			request := a.request(ctx, message("sim/claude-sonnet-4-5", strings.Repeat("hi ", 100), "12000", c.stream))
			if c.chat {
				request = a.chatRequest(ctx, asking("chat/gpt-4o", strings.Repeat("hi ", 100), `"max_tokens":12000`, streams))
			}
			left := make(chan struct{})
			go func() {
				defer close(left)
				if response, err := http.DefaultClient.Do(request); err == nil {
					_, _ = bufio.NewReader(response.Body).ReadString('\n')
					hangUp()
					_ = response.Body.Close()
				}
			}()
			pgtest.Eventually(t, patience, "the vendor has the request", func(context.Context) bool { return len(vendor.Requests(-1)) == 1 })
			if strings.Contains(c.reply, "first_byte") {
				hangUp()
			}
			<-left
			soon, cancel := context.WithTimeout(t.Context(), patience) // by itself the vendor takes minutes
			defer cancel()
			if err := a.gateway.Flush(soon, a.task.RunID); err != nil {
				t.Fatalf("the call goes on: %v", err)
			}
			booked, call := books(t, vendor, 1).Calls[0], a.only()
			if booked.Outcome != vendorsim.OutcomeHungUp || call.Outcome != corp.CallHungUp || !call.Estimated {
				t.Errorf("%+v\nbooked %+v", call, booked)
			}
			billed := sonnet(usageOf(booked.Usage))
			if c.chat {
				billed = gpt(usageOf(booked.Usage))
			}
			if call.Cost < billed || call.Cost > call.Reserved {
				t.Errorf("cost %v of %v reserved, billed %v", call.Cost, call.Reserved, billed)
			}
			if task, _ := a.settled(); task.Spent != call.Cost {
				t.Errorf("%+v", task)
			}
		})
	}
}

// What one run's requests may take of the server's memory is bounded, also while
// they arrive slowly, and those that are small still pass.
func TestLargeRequestsOfOneRunAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, &recording{answer: plainAnswer})
	a, other := w.run(0), w.run(0)
	large := func(of *agent, announced int64) (end func() int) {
		from, to := io.Pipe()
		r := of.request(t.Context(), "")
		r.Body, r.ContentLength, r.GetBody = from, announced, nil
		got := make(chan reply, 1)
		go func() { got <- of.do(r); _ = from.Close() }()
		_, _ = to.Write([]byte("{")) // the transport has it, or the answer is there
		return func() int {
			_, _ = io.WriteString(to, `"model":1}`)
			_ = to.CloseWithError(io.ErrUnexpectedEOF)
			return (<-got).status
		}
	}
	small := message("sim/claude-sonnet-4-5", "hi", "100", false)
	var ends []func() int
	pgtest.Eventually(t, patience, "no more large ones are taken", func(context.Context) bool {
		if len(ends) < 4 {
			ends = append(ends, large(a, []int64{32 << 20, -1}[len(ends)%2])) // -1: it does not say how large it is
		}
		return len(ends) == 4 && a.call(strings.Replace(small, "hi", strings.Repeat("x", 1<<20), 1)).status == http.StatusTooManyRequests
	})
	if got := other.call(small); got.status != 200 {
		t.Errorf("another run: %d %s", got.status, got.body)
	}
	for _, end := range ends {
		end()
	}
	pgtest.Eventually(t, patience, "the room is free again", func(context.Context) bool {
		return a.call(strings.Replace(small, "hi", strings.Repeat("x", 1<<20), 1)).status == http.StatusOK
	})
}
