package contexts_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/client/contexts"
)

// What a server names is shown on a terminal and opened by other programs.
func TestAServerNamesAPageToSignInAtAndNothingElse(t *testing.T) {
	t.Parallel()
	shown := func(d client.NewDevice) (page string, err error) {
		t.Helper()
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(d) }))
		defer server.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err = contexts.SignIn(ctx, server.URL, client.Options{}, func(p, _ string) {
			page = p
			cancel()
		})
		return page, err
	}
	const code = "BCDF-GHJK"
	if page, _ := shown(client.NewDevice{Page: "https://corp.example.com/device", Code: code}); page != "https://corp.example.com/device?code="+code {
		t.Errorf("the control: %q", page)
	}
	for _, bad := range []client.NewDevice{
		{Page: "file:///etc/passwd", Code: code},
		{Page: "ssh://-oProxyCommand=id/x", Code: code},
		{Page: "--help", Code: code},
		{Code: code},
		{Page: "https://corp.example.com/\x1b]0;x\a", Code: code},
		{Page: "https://corp.example.com/device", Code: "\x1b[2J"},
	} {
		if page, err := shown(bad); page != "" || corp.KindOf(err) != corp.KindUnavailable {
			t.Errorf("%+v: shown %q, %v", bad, page, err)
		}
	}
}
