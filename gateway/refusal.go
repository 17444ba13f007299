package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/outbound"
)

// refusal is an answer of the gateway's own, in place of the vendor's.
type refusal struct {
	status     int
	message    string
	retryAfter int         // seconds; 0 means that trying again is no use
	stop       corp.Reason // why the run must stop, if it must
	record     bool        // the ledger shows it
	cause      error       // for the log, never for the client
}

func unavailable(message string) *refusal {
	return &refusal{status: http.StatusServiceUnavailable, message: message + " Try again in a moment.", retryAfter: 2}
}

// silent words a vendor's silence for the agent, and for the person who reads its
// transcript: an address at which nobody ever answers is most often a wrong one.
// The address itself is the installation's, and not for agents.
func silent(to route, err error) *refusal {
	why := "."
	dns, _ := errors.AsType[*net.DNSError](err)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	known, _ := errors.AsType[*corp.Error](err)
	switch {
	case known != nil && known.Code == outbound.CodeRefused: // as long as the address stays, trying again is in vain
		return &refusal{status: http.StatusBadRequest, message: fmt.Sprintf("The provider %q is not called. %s %s", to.Name, known.Message, known.Hint)}
	case dns != nil && dns.IsNotFound:
		why = ": there is no such host. Is its base URL right?"
	case errors.Is(err, syscall.ECONNREFUSED):
		why = ": nothing listens there. Is its base URL right?"
	case untrusted:
		why = ": its certificate is not trusted."
	}
	r := unavailable(fmt.Sprintf("The provider %q did not answer%s", to.Name, why))
	r.cause = err
	return r
}

// refused words an error for the agent.
func refused(err error) *refusal {
	e, ok := errors.AsType[*corp.Error](err)
	if !ok {
		r := unavailable("The gateway could not look this up.")
		r.cause = err
		return r
	}
	r := &refusal{message: strings.TrimSpace(e.Message + " " + e.Hint), cause: e.Err}
	switch e.Kind {
	case corp.KindUnauthenticated:
		r.status = http.StatusUnauthorized
	case corp.KindForbidden:
		r.status = http.StatusForbidden
	case corp.KindNotFound:
		r.status = http.StatusNotFound
	case corp.KindLimit:
		r.status = http.StatusPaymentRequired
	case corp.KindInvalid, corp.KindConflict:
		r.status = http.StatusBadRequest
	default:
		r.status, r.retryAfter = http.StatusServiceUnavailable, 2
	}
	switch e.Code {
	case "provider":
		r.stop, r.record = corp.ReasonModelUnknown, true
	case "provider_key":
		r.status, r.stop, r.record = http.StatusUnauthorized, corp.ReasonProviderKey, true
	}
	return r
}

// harmless returns the refusal of a question for whose sake no run needs to stop.
func (r *refusal) harmless() *refusal {
	r.stop, r.record = corp.ReasonNone, false
	return r
}

// write answers in the dialect's own form. Clients of these dialects look at
// x-should-retry before they try again.
func (r *refusal) write(w http.ResponseWriter, d Dialect, id string) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set(d.RequestID(), id)
	h.Set("X-Should-Retry", strconv.FormatBool(r.retryAfter > 0))
	if r.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(r.retryAfter))
	}
	body := d.Refusal(r.status, r.message, id)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(r.status)
	_, _ = w.Write(body) // a client that is gone needs no answer
}
