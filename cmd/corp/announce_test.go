package main

import (
	"bytes"
	"net"
	"strings"
	"testing"
)

func TestWhatIsSaidToTryFitsTheServerThatSaysIt(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	said := func(c config) string {
		var out bytes.Buffer
		none := func(string) string { return "" }
		s := &server{env: &environment{Out: &out, Getenv: none}, config: &c, db: &database{}, apiListener: l, gatewayListener: l, fresh: true}
		s.announce()
		return out.String()
	}
	for _, c := range []struct {
		name          string
		config        config
		says, saysNot string
	}{
		{"the default folder", config{Data: defaultData(func(string) string { return "" })}, "run --repo", "--data"},
		{"another folder", config{Data: "/srv/a"}, "run --data /srv/a --repo", "''"},
		{"a folder with a blank", config{Data: "/srv/it's a"}, `--data '/srv/it'\''s a' --repo`, "--data /srv"},
		{"another folder, for keys", config{Data: "/srv/a"}, "key create laptop --role member --data /srv/a,", ""},
		{"no runner", config{Data: "/srv/a", NoRunner: true}, "demo", " run "},
	} {
		if text := said(c.config); !strings.Contains(text, c.says) || c.saysNot != "" && strings.Contains(text, c.saysNot) {
			t.Errorf("%s: %s", c.name, text)
		}
	}
}
