package vendorsim

import (
	"errors"
	"fmt"
	"time"
)

// faultKind is what goes wrong.
type faultKind string

const (
	faultStatus    faultKind = "status"    // an error status in place of the answer
	faultReset     faultKind = "reset"     // the connection is reset before any header
	faultCut       faultKind = "cut"       // the stream breaks off
	faultHang      faultKind = "hang"      // the stream falls silent until the client goes
	faultEndless   faultKind = "endless"   // the stream never ends
	faultMalformed faultKind = "malformed" // one event is no valid JSON
	faultError     faultKind = "error"     // an error event ends the stream
)

// fault is one compiled fault. It strikes `times` times, or always when that is
// zero; after counts events or bytes, by kind; -1 means unset.
type fault struct {
	kind        faultKind
	times       int
	status      int
	errType     string
	message     string
	retryAfter  *time.Duration
	headers     map[string]string
	afterEvents int
	afterBytes  int
	pingEvery   time.Duration
	raw         string
}

const malformedEvent = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_del\n\n"

func compileFault(f *faultFile, shared *scenarioFile) (fault, error) {
	out := fault{
		kind: faultKind(f.Kind), times: f.Times, status: f.Status, errType: f.Type, message: f.Message,
		headers: mergeHeaders(shared.Headers, f.Headers), afterEvents: -1, afterBytes: -1,
		pingEvery: f.PingEvery.or(0), raw: f.Raw,
	}
	if f.RetryAfter != nil {
		out.retryAfter = new(time.Duration(*f.RetryAfter))
	}
	if f.AfterEvents != nil {
		out.afterEvents = *f.AfterEvents
	}
	if f.AfterBytes != nil {
		out.afterBytes = *f.AfterBytes
	}
	if err := out.check(f); err != nil {
		return out, err
	}
	out.fill()
	return out, nil
}

func (f *fault) check(file *faultFile) error {
	if err := checkHeaders(f.headers); err != nil {
		return err
	}
	if f.times < 0 || (file.AfterEvents != nil && f.afterEvents < 0) || (file.AfterBytes != nil && f.afterBytes < 0) {
		return errors.New("times, after_events and after_bytes must not be negative")
	}
	if file.AfterBytes != nil && f.kind != faultCut {
		return errors.New("after_bytes goes with kind cut only")
	}
	switch f.kind {
	case faultStatus:
		if f.status < 400 || f.status > 599 {
			return errors.New("a status fault needs a status between 400 and 599")
		}
	case faultCut:
		if (file.AfterEvents == nil) == (file.AfterBytes == nil) {
			return errors.New("a cut needs after_events or after_bytes")
		}
	case faultReset, faultEndless:
		if file.AfterEvents != nil {
			return fmt.Errorf("after_events does not go with kind %s", f.kind)
		}
	case faultHang, faultMalformed, faultError:
	default:
		return fmt.Errorf("there is no kind %q; there are status, reset, cut, hang, endless, malformed, error", f.kind)
	}
	if f.kind != faultStatus && file.Status != 0 && f.kind != faultError {
		return fmt.Errorf("status does not go with kind %s", f.kind)
	}
	return nil
}

// fill sets what was left open.
func (f *fault) fill() {
	if f.kind == faultEndless && f.pingEvery == 0 {
		f.pingEvery = defaultPing
	}
	if f.kind != faultCut && f.afterEvents < 0 {
		f.afterEvents = 1 // after message_start
	}
}

// vendorError is the fault as the file gives it; the dialect adds what is open.
func (f *fault) vendorError() *vendorError {
	status := f.status
	if status == 0 {
		status = statusOverloaded
	}
	return &vendorError{status: status, kind: f.errType, message: f.message, retryAfter: f.retryAfter, headers: f.headers}
}

func orText(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
