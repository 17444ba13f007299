package api

import (
	"errors"
	"strings"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/outbound"
)

func TestOnlyURLsOfRepositoriesAreTaken(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"https://example.com/a/b.git", "http://127.0.0.1:3000/r", "ssh://git@example.com:22/a/b", "git://example.com/a", "https://user@example.com/a/b", "https://[::1]:8080/x"} {
		if err := checkGitURL("url", good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "/etc", "./x", "../x", "file:///etc/passwd", "FILE:///etc", "git@example.com:a/b", "-o@example.com:a", "a@-o:b", "user:secret@example.com:a", "git@example.com:", "ext::sh -c id", "ext::sh", "fd::17",
		"https://", "https:///x", "https://example.com", "https://example.com/", "ssh://-oProxyCommand=id/x", "ssh://-oProxyCommand=id@host/x",
		"https://user:secret@example.com/a", "https://example.com/a?x=1", "https://example.com/a#b", "https://example.com/a b", "https://example.com/a\n", "--upload-pack=id",
		"https://example.com/-x", "ftp://example.com/a", "https://example.com/\x00", "javascript:alert(1)",
	} {
		err := checkGitURL("url", bad)
		e, ok := errors.AsType[*corp.Error](err)
		if !ok || e.Field != "url" || e.Hint == "" || e.Kind != corp.KindInvalid {
			t.Errorf("%q: %v", bad, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the password is in the answer: %v", err)
		}
	}
}

// What people paste is answered with what to write instead.
func TestTheRightURLIsNamedForTheWrongOne(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ field, text, hint string }{
		{"url", "git@github.com:foo/bar.git", "ssh://git@github.com/foo/bar.git."},
		{"repository_url", "me@host-1:/srv/git/a", "ssh://me@host-1/srv/git/a."},
		{"url", "https://user:secret@example.com/a", "--password-env"},
		{"repository_url", "https://user:secret@example.com/a", "repository_id"},
	} {
		err := checkGitURL(c.field, c.text)
		if e, ok := errors.AsType[*corp.Error](err); !ok || !strings.Contains(e.Hint, c.hint) || strings.Contains(e.Hint, "secret") {
			t.Errorf("%s: %#v", c.text, err)
		}
	}
}

func TestARefIsNeverAnOptionOrAnExpression(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"", "main", "v1.2.3", "feature/a-b", "refs/heads/main", "0123456789abcdef0123456789abcdef01234567", "ümlaut"} {
		if err := checkRef("base", good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"-x", "--upload-pack=id", "a..b", "a b", "a~1", "a^", "a:b", "a?b", "a*", "a[b", "a\\b", "a@{1}", "/a", "a/", "a\x00", "a\n", "a.lock"} {
		if err := checkRef("base", bad); corp.KindOf(err) != corp.KindInvalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestATaskNamesExactlyOneSource(t *testing.T) {
	t.Parallel()
	repository, source := corp.NewID[corp.RepositoryID](), corp.NewID[corp.BlobID]()
	const url, hash = "https://example.com/a/b.git", "0123456789abcdef0123456789abcdef01234567"
	for _, c := range []struct {
		name  string
		spec  corp.TaskSpec
		field string // of the refusal
	}{
		{"a URL", corp.TaskSpec{RepositoryURL: url}, ""},
		{"a repository", corp.TaskSpec{RepositoryID: &repository}, ""},
		{"a source", corp.TaskSpec{SourceID: &source, BaseCommit: hash}, ""},
		{"nothing", corp.TaskSpec{}, "repository_url"},
		{"two", corp.TaskSpec{RepositoryURL: url, RepositoryID: &repository}, "repository_url"},
		{"all", corp.TaskSpec{RepositoryURL: url, RepositoryID: &repository, SourceID: &source, BaseCommit: hash}, "repository_url"},
		{"a source without its commit", corp.TaskSpec{SourceID: &source}, "base_commit"},
		{"a path", corp.TaskSpec{RepositoryURL: "/home/x"}, "repository_url"},
		{"a bad label", corp.TaskSpec{RepositoryURL: url, Labels: []string{"gpu", "a b"}}, "labels[1]"},
		{"a bad base", corp.TaskSpec{RepositoryURL: url, Base: "-x"}, "base"},
		{"a blank prompt", corp.TaskSpec{Prompt: " \n", RepositoryURL: url}, "prompt"},
		{"a long prompt", corp.TaskSpec{Prompt: strings.Repeat("é", corp.MaxPrompt/2+1), RepositoryURL: url}, "prompt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.spec.Prompt == "" {
				c.spec.Prompt = "Fix it."
			}
			err := checkTask(c.spec)
			if c.field == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			e, ok := errors.AsType[*corp.Error](err)
			if !ok || e.Field != c.field || e.Hint == "" {
				t.Errorf("got %#v, want the field %s", err, c.field)
			}
		})
	}
}

func TestAVendorsAddressIsChecked(t *testing.T) {
	t.Parallel()
	check := func(dialect, url, vendor string) (corp.ProviderSpec, error) {
		return providerRequest{ProviderSpec: corp.ProviderSpec{Name: "x", Dialect: dialect, BaseURL: url, Vendor: vendor}}.check(outbound.Policy{AllowPrivate: true})
	}
	for _, good := range []struct{ dialect, url, vendor, wantURL, wantVendor string }{
		{corp.DialectAnthropic, "https://api.anthropic.com/", "", "https://api.anthropic.com", "anthropic"},
		{corp.DialectOpenAI, "https://api.openai.com", "", "https://api.openai.com", "openai"},
		{corp.DialectOpenAI, "https://api.openai.com/v1/", "", "https://api.openai.com/v1", "openai"},
		{corp.DialectOpenAI, "http://127.0.0.1:11434/v1", "ollama", "http://127.0.0.1:11434/v1", "ollama"},
	} {
		if spec, err := check(good.dialect, good.url, good.vendor); err != nil || spec.BaseURL != good.wantURL || spec.Vendor != good.wantVendor {
			t.Errorf("%+v: %+v, %v", good, spec, err)
		}
	}
	for _, bad := range []string{"", "api.anthropic.com", "file:///x", "https://", "https://u:p@example.com", "https://example.com/v1", "https://example.com/v1/", "https://example.com?x=1", "https://example.com#x", "gopher://example.com"} {
		if _, err := check(corp.DialectAnthropic, bad, ""); corp.KindOf(err) != corp.KindInvalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, bad := range [][2]string{{"https://e.example/v1/chat/completions", "x"}, {"https://e.example/v1", ""}, {"https://api.openai.com.e.example/v1", ""}} {
		if _, err := check(corp.DialectOpenAI, bad[0], bad[1]); corp.KindOf(err) != corp.KindInvalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := (providerRequest{ProviderSpec: corp.ProviderSpec{Dialect: corp.DialectOpenAI, BaseURL: "http://x/v1", Vendor: "x"}, Key: "k", NoKey: true}).check(outbound.Policy{AllowPrivate: true}); corp.KindOf(err) != corp.KindInvalid {
		t.Errorf("a key and none: %v", err)
	}
}
