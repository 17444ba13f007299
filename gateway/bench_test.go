package gateway_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/genericcorp/corp/gateway"
)

// BenchmarkGateway compares a call through the gateway with one straight to the
// vendor and one through a bare reverse proxy. Client, proxy and vendor share the
// process, so what counts is the difference to direct, in time and in CPU.
func BenchmarkGateway(b *testing.B) {
	vendor := benchVendor()
	direct := httptest.NewServer(vendor)
	defer direct.Close()
	target, err := url.Parse(direct.URL)
	if err != nil {
		b.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, FlushInterval: -1, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), Transport: &http.Transport{DisableCompression: true, WriteBufferSize: 64 << 10}})
	defer proxy.Close()
	w := newWorld(b, vendor, func(c *gateway.Config) { c.Times = gateway.DefaultTimes() })
	free, limited := w.run(0), w.run(1<<50)
	const line = `\tif err != nil {\n\t\treturn fmt.Errorf(\"lease: %w\", err)\n\t}\n`
	for _, size := range []struct {
		name  string
		bytes int
	}{{"1KB", 1 << 10}, {"200KB", 200 << 10}} {
		for _, kind := range []struct {
			name   string
			stream bool
		}{{"whole", false}, {"stream", true}} {
			body := message("sim/claude-sonnet-4-5", strings.Repeat(line, size.bytes/len(line)), "100", kind.stream)
			for _, way := range []struct{ name, url, key string }{
				{"direct", direct.URL, vendorKey}, {"reverseproxy", proxy.URL, vendorKey}, {"gateway", w.url, free.key}, {"gateway-limited", w.url, limited.key},
			} {
				b.Run(size.name+"/"+kind.name+"/"+way.name, func(b *testing.B) { measure(b, way.url, way.key, []byte(body), way.name == "reverseproxy") })
			}
		}
	}
}

// benchVendor answers at once: 1 KB, or 53 events.
func benchVendor() http.Handler {
	whole := []byte(`{"id":"msg_1","type":"message","model":"claude-sonnet-4-5","content":[{"type":"text","text":"` + strings.Repeat("x", 900) + `"}],"usage":{"input_tokens":10,"output_tokens":20}}`)
	events := strings.SplitAfter(streamOf(50), "\n\n")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !bytes.Contains(body[:min(len(body), 200)], []byte(`"stream":true`)) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(whole)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for _, e := range events {
			_, _ = io.WriteString(w, e)
			_ = http.NewResponseController(w).Flush()
		}
	})
}

func measure(b *testing.B, url, key string, body []byte, forgive bool) {
	b.Helper()
	b.ReportAllocs()
	before, n, broken := cpu(b), 0, 0
	for b.Loop() {
		n++
		r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url+"/v1/messages", bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		r.Header.Set("X-Api-Key", key)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		_, err = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		if err != nil && forgive { // httputil.ReverseProxy breaks a stream off now and then
			broken++
			continue
		}
		if err != nil || response.StatusCode != http.StatusOK {
			b.Fatal(response.Status, err)
		}
	}
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(n), "cpu-µs/op")
	if broken > 0 {
		b.ReportMetric(float64(broken), "broken")
	}
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
