package vendorsim

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// BenchmarkMessages measures requests per second of 1 KB answers, of the
// handler alone and over loopback with the client in the same process.
func BenchmarkMessages(b *testing.B) {
	for _, c := range []struct{ name, more string }{{"stream", streaming}, {"whole", `"stream":false`}} {
		body := ask("please say something", c.more, fixTools)
		s := New(Options{Journal: io.Discard}, echo(b, "{text_bytes: 1024}"))
		b.Run(c.name+"/handler", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.ServeHTTP(httptest.NewRecorder(), request(b.Context(), http.MethodPost, "/v1/messages", body))
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
		})
		b.Run(c.name+"/loopback", func(b *testing.B) {
			ts := httptest.NewServer(s)
			defer ts.Close()
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					r := request(b.Context(), http.MethodPost, ts.URL+"/v1/messages", body)
					resp, err := client.Do(r)
					if err != nil {
						b.Error(err)
						return
					}
					n, _ := io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if resp.StatusCode != http.StatusOK || n < 1024 {
						b.Errorf("status %d, %d bytes", resp.StatusCode, n)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
		})
	}
}

// BenchmarkLongConversation measures a request of about 200 KB, as agents send.
func BenchmarkLongConversation(b *testing.B) {
	s := New(Options{}, echo(b, "{text: ok}"))
	body := ask(strings.Repeat("All work and no play. ", 200_000/22), streaming)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		s.ServeHTTP(httptest.NewRecorder(), request(b.Context(), http.MethodPost, "/v1/messages", body))
	}
}
