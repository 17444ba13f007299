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
	type upload struct {
		rest  *io.PipeWriter
		ended chan struct{}
	}
	large := func(announced int64) *upload {
		from, to := io.Pipe()
		r := a.request(t.Context(), "")
		r.Body, r.ContentLength, r.GetBody = from, announced, nil
		u := &upload{to, make(chan struct{})}
		go func() { defer close(u.ended); _ = a.do(r); _ = from.Close() }()
		_, _ = to.Write([]byte("{")) // the transport has it, or the answer is there
		return u
	}
	small := message("sim/claude-sonnet-4-5", "hi", "100", false)
	mega := strings.Replace(small, "hi", strings.Repeat("x", 1<<20), 1)
	sizes := []int64{32 << 20, -1, 32 << 20, -1} // -1: it does not say how large it is
	uploads := make([]*upload, len(sizes))
	pgtest.Eventually(t, patience, "no more large ones are taken", func(context.Context) bool {
		for i, u := range uploads {
			if u == nil || isClosed(u.ended) { // one that came while another held its room was refused
				uploads[i] = large(sizes[i])
			}
		}
		return a.call(mega).status == http.StatusTooManyRequests
	})
	if got := other.call(small); got.status != 200 {
		t.Errorf("another run: %d %s", got.status, got.body)
	}
	for _, u := range uploads {
		_, _ = io.WriteString(u.rest, `"model":1}`)
		_ = u.rest.CloseWithError(io.ErrUnexpectedEOF)
		<-u.ended
	}
	pgtest.Eventually(t, patience, "the room is free again", func(context.Context) bool { return a.call(mega).status == http.StatusOK })
}

// Whoever is refused hears so, whether or not the rest of the request ever comes.
func TestARefusalDoesNotWaitForTheRequestsBody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, &recording{answer: plainAnswer}, func(c *gateway.Config) { c.Times.BodyRead = time.Hour })
	a := w.run(0)
	a.key = "not a key"
	for name, announced := range map[string]int64{"of no known length": -1, "small": 1000, "large": 8 << 20, "too large": 1 << 30} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, to := io.Pipe()
			defer func() { _ = to.Close() }()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			r := a.request(ctx, "")
			r.Body, r.ContentLength, r.GetBody = from, announced, nil
			if got := a.do(r); got.status != http.StatusUnauthorized {
				t.Errorf("%d %v", got.status, got.err)
			}
		})
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
