package mail

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http/httptest"
	netmail "net/mail"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/genericcorp/corp/seal"
)

// office is a real mail server in this process.
type office struct {
	address string
	roots   *x509.CertPool

	mu     sync.Mutex
	taken  []envelope
	refuse func(command string) error // nil takes everything
	user   string                     // who signed in
	secure bool                       // the last connection was encrypted
}

type envelope struct {
	from string
	to   []string
	data []byte
}

func newOffice(t *testing.T, change ...func(*smtp.Server)) *office {
	t.Helper()
	o := &office{roots: x509.NewCertPool()}
	certified := httptest.NewTLSServer(nil)
	t.Cleanup(certified.Close)
	o.roots.AddCert(certified.Certificate())
	s := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		o.mu.Lock()
		_, o.secure = c.TLSConnectionState()
		o.mu.Unlock()
		return &visit{office: o}, nil
	}))
	s.Domain, s.AllowInsecureAuth, s.ReadTimeout, s.WriteTimeout = "mail.test", true, 30*time.Second, 30*time.Second
	s.TLSConfig = &tls.Config{Certificates: certified.TLS.Certificates, MinVersion: tls.VersionTLS12}
	s.ErrorLog = quiet{}
	for _, c := range change {
		c(s)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.address = l.Addr().String()
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return o
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

// mails returns what was taken so far.
func (o *office) mails() []envelope {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]envelope(nil), o.taken...)
}

func (o *office) refusing(refuse func(command string) error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refuse = refuse
}

func (o *office) may(command string) error {
	o.mu.Lock()
	refuse := o.refuse
	o.mu.Unlock()
	if refuse == nil {
		return nil
	}
	return refuse(command)
}

type visit struct {
	*office
	e envelope
}

func (v *visit) AuthMechanisms() []string { return []string{sasl.Plain} }

func (v *visit) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if password != "right" {
			return smtp.ErrAuthFailed
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.user = user
		return nil
	}), nil
}

func (v *visit) Mail(from string, _ *smtp.MailOptions) error {
	v.e = envelope{from: from}
	return v.may("MAIL")
}

func (v *visit) Rcpt(to string, _ *smtp.RcptOptions) error {
	v.e.to = append(v.e.to, to)
	return v.may("RCPT")
}

func (v *visit) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := v.may("DATA"); err != nil {
		return err
	}
	v.e.data = b
	v.mu.Lock()
	defer v.mu.Unlock()
	v.taken = append(v.taken, v.e)
	return nil
}

func (v *visit) Reset()        {}
func (v *visit) Logout() error { return nil }

// letter reads a mail as a program would.
func letter(t *testing.T, e envelope) *netmail.Message {
	t.Helper()
	m, err := netmail.ReadMessage(bytes.NewReader(e.data))
	if err != nil {
		t.Fatalf("%v in\n%s", err, e.data)
	}
	return m
}

// to returns the way to the office.
func (o *office) to(t *testing.T, prefix, suffix string) *Server {
	t.Helper()
	s, err := ParseServer(prefix+o.address+suffix, "Generic Corp <corp@example.com>")
	if err != nil {
		t.Fatal(err)
	}
	s.tls.RootCAs = o.roots
	return s
}

func testRing(t *testing.T) *seal.Ring {
	t.Helper()
	ring, err := seal.New(bytes.Repeat([]byte{3}, seal.SecretSize))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

var (
	errBusy    = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "try later"}
	errUnknown = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such\x1b[31m user"}
)
