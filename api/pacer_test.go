package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/genericcorp/corp"
)

func TestAStreamBeyondItsPlanIsRefusedAndASlowOneLosesNothing(t *testing.T) {
	t.Parallel()
	h := ownHouse(t)
	h.env.Exec(t, `UPDATE plans SET messages_per_second = 40, tasks_per_day = 0 WHERE name = 'free'`)
	o := h.officeOn(t, "free")
	const tasks = 500 // two events each, 800 of which may be sent at once
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var batch corp.BatchSpec
	for range tasks {
		batch.Tasks = append(batch.Tasks, corp.BatchTask{TaskSpec: corp.TaskSpec{Prompt: "x", RepositoryURL: someURL}})
	}
	_ = must[corp.Batch](t)(o.owner().SubmitBatch(ctx, batch, ""))
	open := func() *http.Response {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+"/v1/stream?after=e:0", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+o.keys[corp.RoleViewer])
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp
	}
	start := time.Now()
	first := open()
	_ = open()
	if r := open(); r.StatusCode != http.StatusTooManyRequests {
		t.Errorf("a third stream: %d", r.StatusCode)
	}
	newest := must[int64](t)(h.env.DB.In(o.ws).LastEvent(ctx))
	seq := int64(0)
	var text bytes.Buffer
	buffer := make([]byte, 64<<10)
	for seq < newest {
		n, err := first.Body.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(buffer[:n])
		for {
			frame, _, whole := bytes.Cut(text.Bytes(), []byte("\n\n"))
			if !whole {
				break
			}
			if bytes.Contains(frame, []byte("event: event")) {
				seq++
				if !bytes.Contains(frame, fmt.Appendf(nil, `"seq":%d,`, seq)) {
					t.Fatalf("want event %d, got %s", seq, frame)
				}
			}
			text.Next(len(frame) + 2)
		}
	}
	if atLeast := time.Duration(newest-40*streamRest) * time.Second / 40; time.Since(start) < atLeast-time.Second/40 {
		t.Errorf("%d messages came in %s, want at least %s", newest, time.Since(start), atLeast)
	}
}
