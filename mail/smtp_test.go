package mail

import (
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/genericcorp/corp"
)

var someMail = corp.NewID[corp.MailID]()

func send(t *testing.T, s *Server, to, subject, text string) error {
	t.Helper()
	return s.send(t.Context(), someMail, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), to, subject, text)
}

func TestAMailArrivesAsItWasWritten(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	s := o.to(t, "smtp://ada:right@", "?tls=required")
	text := "Grüße,\n\nhttps://corp.example.com/verify#gc_link_abcdef=\n.\n..\nend\n"
	for range 2 {
		if err := send(t, s, "ada@example.org", "Ihre Adresse bestätigen", text); err != nil {
			t.Fatal(err)
		}
	}
	got := o.mails()
	if len(got) != 2 || got[0].from != "corp@example.com" || len(got[0].to) != 1 || got[0].to[0] != "ada@example.org" || o.user != "ada" || !o.secure {
		t.Fatalf("%+v, user %q, encrypted %t", got, o.user, o.secure)
	}
	m := letter(t, got[0])
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil || subject != "Ihre Adresse bestätigen" {
		t.Errorf("subject %q, %v", subject, err)
	}
	for name, want := range map[string]string{
		"From": `"Generic Corp" <corp@example.com>`, "To": "<ada@example.org>", "Message-Id": "<" + someMail.String() + "@example.com>", "Auto-Submitted": "auto-generated",
		"Content-Type": "text/plain; charset=UTF-8", "Date": "Sun, 01 Mar 2026 12:00:00 +0000", "User-Agent": "", "X-Mailer": "",
	} {
		if value := m.Header.Get(name); value != want {
			t.Errorf("%s: %q, want %q", name, value, want)
		}
	}
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil || strings.TrimSpace(strings.ReplaceAll(string(body), "\r\n", "\n")) != strings.TrimSpace(text) {
		t.Errorf("%q, %v", body, err)
	}
	if letter(t, got[1]).Header.Get("Message-Id") != m.Header.Get("Message-Id") {
		t.Error("the same mail has two Message-IDs")
	}
}

// A mail is one mail with one recipient, whatever somebody is called.
// Attack case 55. Control: each mail arrives, once, at its one address.
func TestNobodysInputBecomesAHeaderOrAnotherMail(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	s, ring := o.to(t, "smtp://", ""), testRing(t)
	evil := []string{
		"x\r\nBcc: victim@example.net", "x\nBcc: victim@example.net", "x\rBcc: victim@example.net", "x\u2028Bcc: v@example.net", "x\x00y", "x\r\n\r\nbody", "=?UTF-8?Q?x=0D=0ABcc:_v@example.net?=",
		"x\r\n.\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nhi", "x\n.\nMAIL FROM:<a@b.c>", "x\r.\rMAIL", "\u202egpj.exe", strings.Repeat("x", 5000),
		"visit https://evil.example.com now", "www.evil.example.com", "a@evil.example.com", `"quoted"`,
	}
	for _, e := range evil {
		m, err := Seal(ring, Letter{Kind: "invitation", To: "ada@example.org", Subject: e + " invites you to " + e, Text: e + "\nhttps://corp.example.com/i#gc_link_x\n"})
		if err != nil {
			t.Errorf("%.40q: %v", e, err)
			continue
		}
		text, err := Open(ring, m.ID, m.To, m.Subject, m.Body)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(text, e) || strings.ContainsAny(m.Subject, "\r\n\x00\u2028\u202e") || len([]rune(m.Subject)) > maxSubject {
			t.Errorf("%.40q makes %q: %q", e, m.Subject, text)
		}
		if err := send(t, s, m.To, m.Subject, text+e); err != nil { // the text may hold anything
			t.Errorf("%.40q: %v", e, err)
		}
	}
	got := o.mails()
	if len(got) != len(evil) {
		t.Fatalf("%d mails of %d", len(got), len(evil))
	}
	for _, e := range got {
		m := letter(t, e)
		if len(e.to) != 1 || e.to[0] != "ada@example.org" || m.Header.Get("Bcc") != "" || m.Header.Get("Cc") != "" || len(m.Header["To"]) != 1 || len(m.Header["Subject"]) != 1 {
			t.Errorf("to %v: %v", e.to, m.Header)
		}
	}
	for _, to := range []string{
		"", "x", "ada@example.org\r\nBcc: v@example.net", "ada@example.org, v@example.net", "Ada <ada@example.org>", "<ada@example.org>", "ada@example.org>", `"a b"@example.org`, "a@b@example.org",
		"ada@[127.0.0.1]", "ada@example.org ", "ädä@example.org", "a\x00@example.org", strings.Repeat("a", 250) + "@example.org", "ada@example.org;v@example.net", "@example.org", "ada@",
	} {
		if _, err := Seal(ring, someLetter(to, "https://corp.example.com/")); err == nil {
			t.Errorf("%q is taken for an address", to)
		}
		if err := CheckAddress(to); corp.KindOf(err) != corp.KindInvalid {
			t.Errorf("%q: %v", to, err)
		}
	}
	if _, err := Seal(ring, Letter{Kind: "a\nb", To: "ada@example.org", Subject: "s", Text: "t"}); err == nil {
		t.Error("a kind with a line break")
	}
}

func TestNothingIsSentWithoutTLSUnlessTheOperatorSaysSo(t *testing.T) {
	t.Parallel()
	plain := newOffice(t, func(s *smtp.Server) { s.TLSConfig = nil })
	if err := send(t, plain.to(t, "smtp://", "?tls=required"), "ada@example.org", "s", "t"); err == nil || len(plain.mails()) != 0 {
		t.Errorf("to a server without TLS: %v, %d mails", err, len(plain.mails()))
	}
	if err := send(t, plain.to(t, "smtp://", "?tls=none"), "ada@example.org", "s", "t"); err != nil || len(plain.mails()) != 1 {
		t.Errorf("with tls=none: %v, %d mails", err, len(plain.mails()))
	}
	other := newOffice(t)
	s := other.to(t, "smtp://", "?tls=required")
	s.tls.RootCAs = nil
	if err := send(t, s, "ada@example.org", "s", "t"); err == nil || len(other.mails()) != 0 {
		t.Errorf("to a server whose certificate nobody knows: %v, %d mails", err, len(other.mails()))
	}
	for address, field := range map[string]string{
		"": "smtp-url", "mail.example.com": "smtp-url", "http://mail.example.com": "smtp-url", "smtp://": "smtp-url", "smtp://mail.example.com/x": "smtp-url", "smtp://mail.example.com?tls=maybe": "smtp-url",
		"smtp://mail.example.com?x=y": "smtp-url", "smtps://mail.example.com?tls=none": "smtp-url", "smtp://u:p@mail.example.com?tls=none": "smtp-url",
	} {
		_, err := ParseServer(address, "corp@example.com")
		if e, ok := errors.AsType[*corp.Error](err); !ok || e.Field != field || e.Hint == "" || strings.Contains(e.Error(), "u:p") {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, from := range []string{"", "x", "a@b\r\nBcc: c@d", "a@b, c@d", "Generic Corp"} {
		if _, err := ParseServer("smtp://localhost", from); err == nil {
			t.Errorf("from %q is fine", from)
		}
	}
}

func TestRefusalsAreForGoodOrForNow(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		command string
		err     error
		forGood bool
	}{
		"unknown recipient": {"RCPT", errUnknown, true}, "content refused": {"DATA", errUnknown, true}, "greylisted": {"RCPT", errBusy, false}, "busy": {"DATA", errBusy, false}, "our sender refused": {"MAIL", errUnknown, false},
	} {
		o := newOffice(t)
		o.refusing(func(command string) error {
			if command == c.command {
				return c.err
			}
			return nil
		})
		err := send(t, o.to(t, "smtp://", ""), "ada@example.org", "s", "t")
		if err == nil || errors.Is(err, errRefused) != c.forGood {
			t.Errorf("%s: %v, want for good %t", name, err, c.forGood)
		}
		if kept := why(err); strings.ContainsAny(kept, "\x1b\r\n") || len(kept) > maxWhy {
			t.Errorf("%s: kept as %q", name, kept)
		}
	}
	o := newOffice(t)
	if err := send(t, o.to(t, "smtp://ada:wrong@", ""), "ada@example.org", "s", "t"); err == nil || errors.Is(err, errRefused) || strings.Contains(err.Error(), "wrong") {
		t.Errorf("a wrong password: %v", err)
	}
}

// A server that is silent, slow or dies holds up one mail, for a while.
func TestAServerThatStallsHoldsUpNobodyForLong(t *testing.T) {
	t.Parallel()
	for name, behave := range map[string]func(net.Conn){
		"says nothing":    func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
		"hangs up":        func(net.Conn) {},
		"speaks nonsense": func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") },
		"drips": func(c net.Conn) {
			for {
				if _, err := io.WriteString(c, "220-x\r\n"); err != nil {
					return
				}
			}
		},
		"dies in the middle": func(c net.Conn) {
			_, _ = io.WriteString(c, "220 x\r\n")
			b := make([]byte, 100)
			_, _ = c.Read(b)
			_, _ = io.WriteString(c, "250 x\r\n")
			_, _ = c.Read(b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						defer func() { _ = conn.Close() }()
						behave(conn)
					}()
				}
			}()
			s, err := ParseServer("smtp://"+l.Addr().String(), "corp@example.com")
			if err != nil {
				t.Fatal(err)
			}
			s.patient = time.Second
			began := time.Now()
			if err := send(t, s, "ada@example.org", "s", "t"); err == nil || errors.Is(err, errRefused) {
				t.Errorf("%v", err)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func someLetter(to, link string) Letter {
	return Letter{Kind: "verify", To: to, Subject: "Confirm your address", Text: "Open this:\n\n  " + link + "\n"}
}
