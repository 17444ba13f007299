package api

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/genericcorp/corp"
)

// Edge says where requests come in: under which names, from which pages, through
// which proxies. The zero Edge is a laptop's.
type Edge struct {
	Public  *url.URL       // scheme and host under which people reach the installation; nil on a laptop
	Domain  string         // a workspace is also at {slug}.app.DOMAIN; empty for none
	Hosts   []string       // further host names that are answered to, in lower case: the advertised one, the machine's
	Origins []string       // origins of other sites' pages whose scripts may call, like https://tools.example.com
	Proxies []netip.Prefix // whose X-Forwarded-For is believed
}

// edge is what every request passes before anything of it is interpreted.
type edge struct {
	Edge
	crossing *http.CrossOriginProtection
}

func newEdge(e Edge) (*edge, error) {
	made := &edge{Edge: e, crossing: http.NewCrossOriginProtection()}
	trusted := slices.Clone(e.Origins)
	if e.Public != nil { // a proxy in front may call us by another name
		trusted = append(trusted, e.Public.Scheme+"://"+e.Public.Host)
	}
	for _, origin := range trusted {
		if err := made.crossing.AddTrustedOrigin(origin); err != nil {
			return nil, corp.Invalid("cors-origins", "That is not an origin.", "Write scheme and host, like https://tools.example.com.")
		}
	}
	return made, nil
}

// The codes of refusals at the edge.
const (
	codeHost   = "unknown_host"
	codeOrigin = "cross_origin"
	codeMedia  = "media_type"
)

// edgeStatus has the refusals whose status says more than their kind's.
var edgeStatus = map[string]int{codeHost: http.StatusMisdirectedRequest, codeMedia: http.StatusUnsupportedMediaType}

// secure sets the headers of every answer: what comes from here is data and never
// a page, a frame or a script of anybody's.
func (e *edge) secure(h http.Header) {
	h.Set("Cache-Control", "private, no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Vary", "Authorization, Cookie, Host, Origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	if e.Public != nil && e.Public.Scheme == "https" {
		h.Set("Strict-Transport-Security", "max-age=63072000")
	}
}

// admit looks at where a request comes from and what it calls us. It returns true
// when the request is answered.
func (e *edge) admit(w http.ResponseWriter, r *http.Request, x *exchange) (answered bool) {
	x.address = e.client(r)
	probe := r.Method == http.MethodGet && (r.URL.Path == "/health" || r.URL.Path == "/ready") // a load balancer asks by address
	slug, known := e.named(r.Host)
	x.slug = slug
	if !known && !probe {
		x.write(w, r, &corp.Error{
			Kind: corp.KindInvalid, Code: codeHost, Field: "host", Message: "This server does not answer to that host name.",
			Hint: "Use the installation's public address; the operator can add names with --hosts.",
		})
		return true
	}
	if e.share(w.Header(), r) && preflight(r) {
		e.allow(w.Header())
		w.WriteHeader(http.StatusNoContent)
		return true
	}
	if err := e.sameSite(r); err != nil {
		x.write(w, r, err)
		return true
	}
	if packed := r.Header.Get("Content-Encoding"); packed != "" && !strings.EqualFold(packed, "identity") {
		x.write(w, r, &corp.Error{Kind: corp.KindInvalid, Code: codeMedia, Field: "body", Message: "A compressed body is not read.", Hint: "Send it as it is, without Content-Encoding."})
		return true
	}
	return false
}

// named says whether we answer to a Host header, and the slug of the workspace
// that it names, if it does.
func (e *edge) named(hostport string) (slug string, known bool) {
	host := strings.TrimSuffix(strings.ToLower(hostOnly(hostport)), ".")
	if host == "" {
		return "", false
	}
	if e.Domain != "" {
		if slug, ok := strings.CutSuffix(host, ".app."+e.Domain); ok {
			return slug, slug != "" && !strings.Contains(slug, ".")
		}
	}
	if host == "localhost" || slices.Contains(e.Hosts, host) || e.Public != nil && host == strings.ToLower(e.Public.Hostname()) {
		return "", true
	}
	address, err := netip.ParseAddr(host)
	return "", err == nil && (e.Public == nil || address.Unmap().IsLoopback())
}

// hostOnly leaves a port and the brackets of an IPv6 address out.
func hostOnly(hostport string) string {
	if host, port, err := net.SplitHostPort(hostport); err == nil && strings.Trim(port, "0123456789") == "" {
		return host
	}
	if inner, ok := strings.CutPrefix(hostport, "["); ok && strings.HasSuffix(inner, "]") {
		return strings.TrimSuffix(inner, "]")
	}
	return hostport
}

// client returns the address that a request came from: the connection's, unless
// that is a trusted proxy's. Then it is the last one in X-Forwarded-For that no
// trusted proxy is at; what stands before it anybody may have written.
func (e *edge) client(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	address := peer.Addr().Unmap().WithZone("")
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && e.trusts(address); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hostOnly(strings.TrimSpace(hops[i]))))
		if err != nil {
			break // the proxy did not write this; what it did write is known
		}
		address = hop.Unmap().WithZone("")
	}
	return address
}

func (e *edge) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(e.Proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// share lets the scripts of a listed origin read the answer, and says whether the
// request is of one.
func (e *edge) share(h http.Header, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || !slices.Contains(e.Origins, origin) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Expose-Headers", "Idempotency-Replayed, Location, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID")
	return true
}

func preflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
}

func (*edge) allow(h http.Header) {
	h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-ID")
	h.Set("Access-Control-Max-Age", "600")
}

// sameSite refuses what a page of another site made a browser send. What is no
// browser's says nothing of a site; with a cookie it has to, because browsers
// that say nothing are too old to be protected.
func (e *edge) sameSite(r *http.Request) error {
	err := e.crossing.Check(r)
	unsafe := r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions
	if err == nil && unsafe && r.Header.Get("Authorization") == "" && signedInByCookie(r) && r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "" {
		err = errors.New("a cookie without an origin")
	}
	if err == nil {
		return nil
	}
	return &corp.Error{
		Kind: corp.KindForbidden, Code: codeOrigin, Message: "This request was made by a page of another site.",
		Hint: "Call from the installation's own pages, or have the operator list the site with --cors-origins.", Err: err,
	}
}

// The names of the cookie that signs a browser in: over https, and over http.
const (
	sessionCookie      = "__Host-corp_session"
	plainSessionCookie = "corp_session"
)

func signedInByCookie(r *http.Request) bool {
	return slices.ContainsFunc(r.Cookies(), func(c *http.Cookie) bool { return c.Name == sessionCookie || c.Name == plainSessionCookie })
}

// media refuses to take for JSON what does not say that it is: a form of another
// site can send other types without being asked.
func media(hctx huma.Context) error {
	op := hctx.Operation()
	if r, _ := humago.Unwrap(hctx); op.RequestBody == nil || op.RequestBody.Content["application/json"] == nil || r.ContentLength == 0 {
		return nil
	}
	given, _, _ := strings.Cut(hctx.Header("Content-Type"), ";")
	if strings.EqualFold(strings.TrimSpace(given), "application/json") {
		return nil
	}
	return &corp.Error{Kind: corp.KindInvalid, Code: codeMedia, Field: "body", Message: "The body does not say that it is JSON.", Hint: "Send it with \"Content-Type: application/json\"."}
}

// agrees refuses a credential at another workspace's host name. The name decides
// nothing; it must only not contradict, and what it names is not told.
func (x *exchange) agrees() error {
	if x.slug == "" || x.slug == x.who.Slug {
		return nil
	}
	return corp.NotFound("workspace")
}
