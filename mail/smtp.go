package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/genericcorp/corp"
)

// Server is the mail server that takes the installation's mail.
type Server struct {
	host    string
	from    *mail.Address
	options []gomail.Option
	tls     *tls.Config
	ssl     bool          // from the first byte, and not by STARTTLS
	patient time.Duration // how long handing over one mail may take
}

// handOver is how long a mail server may take for one mail.
const handOver = time.Minute

// ParseServer reads a server's URL and the address that mail comes from:
// smtp://USER:PASSWORD@HOST:587 with STARTTLS, or smtps://…:465. Without TLS only
// to this machine itself, or with ?tls=none. Errors name smtp-url or mail-from.
func ParseServer(address, from string) (*Server, error) {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "smtp" && u.Scheme != "smtps") || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.Fragment != "" {
		return nil, corp.Invalid("smtp-url", "That is not the URL of a mail server.", "Write smtps://USER:PASSWORD@mail.example.com or smtp://USER:PASSWORD@mail.example.com:587.")
	}
	sender, err := mail.ParseAddress(from)
	if err != nil || CheckAddress(sender.Address) != nil || line(from, len(from)) != from {
		return nil, corp.Invalid("mail-from", "That is not an address that mail can come from.", "Write it like \"Generic Corp <corp@example.com>\".")
	}
	s := &Server{host: u.Hostname(), from: sender, patient: handOver, ssl: u.Scheme == "smtps"}
	s.tls = &tls.Config{ServerName: s.host, MinVersion: tls.VersionTLS12}
	if err := s.secure(u); err != nil {
		return nil, err
	}
	domain := sender.Address[strings.LastIndexByte(sender.Address, '@')+1:]
	s.options = append(s.options, gomail.WithHELO(domain), gomail.WithTimeout(15*time.Second), gomail.WithTLSConfig(s.tls))
	return s, nil
}

// secure decides on TLS, and on how to sign in.
func (s *Server) secure(u *url.URL) error {
	local := s.host == "localhost"
	if a, err := netip.ParseAddr(s.host); err == nil {
		local = a.IsLoopback()
	}
	query := u.Query()
	plain := query.Get("tls") == "none" || local && u.Scheme == "smtp" && !query.Has("tls")
	port, _ := strconv.Atoi(u.Port())
	switch {
	case len(query) > 1 || len(query) == 1 && query.Get("tls") != "none" && query.Get("tls") != "required":
		return corp.Invalid("smtp-url", "The mail server's URL has an option that is not known.", "The only one is tls, with the value none or required.")
	case u.Scheme == "smtps" && plain:
		return corp.Invalid("smtp-url", "The scheme smtps speaks TLS, and tls=none does not.", "Use smtp:// for a server without TLS.")
	case u.Scheme == "smtps":
		s.options = append(s.options, gomail.WithSSL(), gomail.WithPort(cmpOr(port, 465)))
	case plain:
		s.options = append(s.options, gomail.WithTLSPolicy(gomail.NoTLS), gomail.WithPort(cmpOr(port, 25)))
	default:
		s.options = append(s.options, gomail.WithTLSPolicy(gomail.TLSMandatory), gomail.WithPort(cmpOr(port, 587)))
	}
	password, signsIn := u.User.Password()
	switch {
	case !signsIn:
	case plain && !local:
		return corp.Invalid("smtp-url", "The mail server's password would be sent without TLS.", "Leave tls=none out, or the password.")
	case plain:
		s.options = append(s.options, gomail.WithSMTPAuth(gomail.SMTPAuthPlainNoEnc), gomail.WithUsername(u.User.Username()), gomail.WithPassword(password))
	default:
		s.options = append(s.options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(u.User.Username()), gomail.WithPassword(password))
	}
	return nil
}

func cmpOr(port, usual int) int {
	if port != 0 {
		return port
	}
	return usual
}

// errRefused says that the server will never take the mail.
var errRefused = errors.New("the mail server refused it for good")

// send hands one mail over. An error that wraps errRefused is for good.
func (s *Server) send(ctx context.Context, id corp.MailID, at time.Time, to, subject, text string) error {
	ctx, cancel := context.WithTimeout(ctx, s.patient)
	defer cancel()
	m := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	m.FromMailAddress(s.from)
	if err := m.To(to); err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	m.Subject(subject)
	m.SetDateWithValue(at)
	domain := s.from.Address[strings.LastIndexByte(s.from.Address, '@')+1:]
	m.SetMessageIDWithValue(id.String() + "@" + domain) // the same each time: who gets it twice sees it once
	m.SetGenHeader("Auto-Submitted", "auto-generated")
	m.SetBodyString(gomail.TypeTextPlain, text)
	client, err := gomail.NewClient(s.host, append([]gomail.Option{gomail.WithDialContextFunc(s.dial(ctx))}, s.options...)...)
	if err != nil {
		return fmt.Errorf("make a mail client: %w", err)
	}
	err = client.DialAndSendWithContext(ctx, m)
	if err == nil || m.IsDelivered() { // it was taken, however the parting went
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("hand over mail within %s: %w", s.patient, ctx.Err())
	}
	if failed, ok := errors.AsType[*gomail.SendError](err); ok && final(failed) {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	return fmt.Errorf("hand over mail: %w", err)
}

// final says whether the server will answer the same tomorrow: the recipient or
// the mail itself was refused, and not our sign-in or the sender.
func final(e *gomail.SendError) bool {
	about := e.Reason == gomail.ErrSMTPRcptTo || e.Reason == gomail.ErrSMTPData || e.Reason == gomail.ErrSMTPDataClose
	return about && !e.IsTemp() && e.ErrorCode() >= 500 && e.ErrorCode() < 600
}

// dial connects, and ends the connection with whole: the library bounds each step,
// and a slow server can make many of them.
func (s *Server) dial(whole context.Context) gomail.DialContextFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(whole, func() { _ = conn.Close() })
		if !s.ssl {
			return conn, nil
		}
		return tls.Client(conn, s.tls), nil
	}
}
