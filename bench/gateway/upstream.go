package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"time"
)

// answers are the vendor's, made once: the upstream must cost as little as it can.
type answers struct {
	whole  map[int][]byte
	events map[int][][]byte
}

// sizes are how much text an answer carries.
var sizes = []int{1 << 10, 200 << 10}

const usage = `{"input_tokens":250,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":300}`

func makeAnswers() answers {
	a := answers{map[int][]byte{}, map[int][][]byte{}}
	for _, size := range sizes {
		text := strings.Repeat("All work and no play. ", size/22+1)[:size]
		quoted, _ := json.Marshal(text)
		a.whole[size] = fmt.Appendf(nil, `{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[{"type":"text","text":%s}],"stop_reason":"end_turn","stop_sequence":null,"usage":%s}`, quoted, usage)
		add := func(name, data string) {
			a.events[size] = append(a.events[size], fmt.Appendf(nil, "event: %s\ndata: %s\n\n", name, data))
		}
		add("message_start", `{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[],"stop_reason":null,"stop_sequence":null,"usage":`+usage+`}}`)
		add("content_block_start", `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`)
		for at := 0; at < size; at += 64 {
			piece, _ := json.Marshal(text[at:min(at+64, size)])
			add("content_block_delta", `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":`+string(piece)+`}}`)
		}
		add("content_block_stop", `{"type":"content_block_stop","index":0}`)
		add("message_delta", `{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":300}}`)
		add("message_stop", `{"type":"message_stop"}`)
	}
	return a
}

// serveUpstream plays the vendor until ctx ends. The size of the answer stands
// in the request's own text.
func serveUpstream(ctx context.Context, address string) error {
	a := makeAnswers()
	server := &http.Server{Addr: address, ReadHeaderTimeout: 0, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // loopback only
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		var ask struct {
			Stream bool   `json:"stream"`
			System string `json:"system"`
		}
		_ = json.Unmarshal(body, &ask)
		size, _ := strconv.Atoi(ask.System)
		if !ask.Stream {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(a.whole[size])
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		flush := http.NewResponseController(w)
		for _, event := range a.events[size] {
			if _, err := w.Write(event); err != nil || flush.Flush() != nil {
				return
			}
		}
	})}
	return serve(ctx, server)
}

// serveProxy passes everything on to the vendor until ctx ends: what a proxy of
// our language and its standard library costs before it knows anything.
func serveProxy(ctx context.Context, address, vendor string) error {
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", vendor },
		FlushInterval: -1, Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
	}
	// With the whole body in hand: the transport may look for more of it after the
	// answer has begun, when the server has closed it.
	whole := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	}
	return serve(ctx, &http.Server{Addr: address, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(whole)})
}

func serve(ctx context.Context, server *http.Server) error {
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	return server.ListenAndServe()
}
