package gitwork

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/genericcorp/corp"
)

// Source says where the base commit comes from: a remote URL, or the file of a
// bundle that the command line uploaded; one of the two.
type Source struct {
	URL        string
	Credential Credential // for URL
	Bundle     string     // absolute path
	Base       string     // branch, tag or commit; empty is the remote's HEAD or the bundle's commit
}

// Credential opens a remote over http or https. It prints as nothing; ssh uses
// the agent that the operator passes in Place.NetworkEnv.
type Credential struct {
	Username string // empty with a password is "x-access-token", as forges have it
	Password string
}

// String hides the secret.
func (c Credential) String() string {
	if c.Password == "" {
		return "no credential"
	}
	return "credential hidden"
}

// GoString hides the secret from %#v too.
func (c Credential) GoString() string { return c.String() }

// LogValue hides the secret from logs.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// redact takes the secret, in the forms in which git may print it, out of s.
func (c Credential) redact(s string) string {
	if c.Password == "" {
		return s
	}
	basic := base64.StdEncoding.EncodeToString([]byte(c.username() + ":" + c.Password))
	for _, form := range []string{c.Password, url.QueryEscape(c.Password), url.PathEscape(c.Password), basic} {
		s = strings.ReplaceAll(s, form, "***")
	}
	return s
}

func (c Credential) username() string {
	if c.Username == "" {
		return "x-access-token"
	}
	return c.Username
}

// credentialHelper hands git the secret from its own environment. It is a
// constant: nothing of the secret or the URL is in it.
//
//nolint:gosec // G101: it names the variables, it holds no secret
const credentialHelper = `!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$CORP_GIT_USERNAME" "$CORP_GIT_PASSWORD"; }; f`

// schemes are the transports that a remote may use.
var schemes = []string{"https", "http", "ssh", "git"}

// remote is a checked URL without any secret in it.
type remote struct {
	url        string
	credential Credential
}

// scpForm is git's short form for ssh: user@host:path.
var scpForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[^-:/\\][^\\]*$`)

// checkURL accepts what git can fetch over a network and nothing else. A
// password in the URL becomes the credential.
func checkURL(raw string, credential Credential) (remote, error) {
	for _, r := range raw {
		if r <= ' ' || r == 0x7f {
			return remote{}, badRepository("The repository's address holds a space or a control character.")
		}
	}
	if strings.ContainsAny(credential.Username+credential.Password, "\r\n\x00") {
		return remote{}, problem(corp.ReasonRepository, corp.KindInvalid, "credential", "The repository's credential holds a line break.", "Store the credential again, as one line.")
	}
	if scpForm.MatchString(raw) {
		return remote{url: raw, credential: credential}, nil
	}
	u, err := url.Parse(raw)
	if err != nil || strings.Contains(raw, "::") && !strings.Contains(raw, "[") {
		return remote{}, badRepository("The repository's address is not a URL that git may use.")
	}
	if !slices.Contains(schemes, u.Scheme) {
		return remote{}, badRepository(fmt.Sprintf("A repository cannot be fetched over %q.", u.Scheme))
	}
	if u.Hostname() == "" || strings.HasPrefix(u.Hostname(), "-") || strings.HasPrefix(u.User.Username(), "-") || u.RawQuery != "" || u.Fragment != "" {
		return remote{}, badRepository("The repository's address lacks a host, or says more than host and path.")
	}
	if password, ok := u.User.Password(); ok {
		if credential == (Credential{}) {
			credential = Credential{Username: u.User.Username(), Password: password}
		}
		u.User = nil
	}
	return remote{url: u.String(), credential: credential}, nil
}

// environment returns what lets git use the credential for this host alone.
func (r remote) environment() (config []setting, env []string) {
	u, err := url.Parse(r.url)
	if err != nil || r.credential.Password == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, nil
	}
	config = []setting{{"credential." + u.Scheme + "://" + u.Host + ".helper", credentialHelper}}
	env = []string{"CORP_GIT_USERNAME=" + r.credential.username(), "CORP_GIT_PASSWORD=" + r.credential.Password}
	return config, env
}

var (
	fullID  = regexp.MustCompile(`^(?:[0-9a-f]{40}|[0-9a-f]{64})$`)
	shortID = regexp.MustCompile(`^[0-9a-f]{4,64}$`)
)

// checkBase refuses what could not be a branch, a tag or a commit: anything
// that git would read as an option, a range or an expression.
func checkBase(base string) error {
	bad := strings.HasPrefix(base, "-") || strings.HasPrefix(base, "/") || strings.HasSuffix(base, "/") || strings.HasSuffix(base, ".") ||
		strings.HasSuffix(base, ".lock") || strings.Contains(base, "..") || strings.Contains(base, "@{") || strings.Contains(base, "//") ||
		strings.ContainsAny(base, " ~^:?*[\\\x7f") || base == "@" || len(base) > 255
	for _, r := range base {
		bad = bad || r < ' '
	}
	if bad {
		return badBase(base, "%q cannot be the name of a branch, a tag or a commit.")
	}
	return nil
}
