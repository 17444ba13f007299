package audit_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/audit"
)

func signer(fill byte) *audit.Signer {
	return audit.NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{fill}, ed25519.SeedSize)))
}

var someWorkspace = corp.WorkspaceID{1, 2, 3}

// anEvent is the nth event of the tests' log, always the same.
func anEvent(n int) corp.AuditEvent {
	e := corp.AuditEvent{
		ID: corp.AuditID{0xaa, byte(n >> 8), byte(n)}, At: time.Date(2026, 11, 22, 12, 0, n, 123_000, time.UTC),
		Actor: "user_1", Via: "key_1", Operation: "createAgent", Action: corp.AgentWrite, Target: fmt.Sprintf("agent_%d", n),
		Result: corp.AuditDone, RequestID: "req_1",
	}
	switch n % 3 {
	case 0:
		e.Changes = json.RawMessage(`{"name":"a<b","budget_nanodollars":12}`)
	case 1:
		e.Personal = &corp.AuditPersonal{Salt: "salt", Address: "192.0.2.1", UserAgent: "corp/1", Email: "a@example.com"}
		e.PersonalHash = audit.PersonalHash(e.Personal)
	}
	return e
}

// log is an export of n events with a checkpoint after each so many and at its end.
func log(tb testing.TB, n, every int, after *audit.Checkpoint) ([]byte, []audit.Checkpoint) {
	tb.Helper()
	var out bytes.Buffer
	w, err := audit.NewWriter(&out, someWorkspace, signer(1).Public(), after)
	if err != nil {
		tb.Fatal(err)
	}
	var points []audit.Checkpoint
	var prev audit.Hash
	from := 0
	if after != nil {
		prev, from = after.Hash, int(after.Seq)
	}
	for i := from + 1; i <= from+n; i++ {
		e := anEvent(i)
		prev = audit.Next(prev, someWorkspace, int64(i), e)
		if err := w.Row(audit.Row{Seq: int64(i), Hash: prev, Event: &e}); err != nil {
			tb.Fatal(err)
		}
		if i%every == 0 || i == from+n {
			c := signer(1).Sign(someWorkspace, int64(i), prev, e.At.Add(time.Second))
			points = append(points, c)
			if err := w.Checkpoint(c); err != nil {
				tb.Fatal(err)
			}
		}
	}
	return out.Bytes(), points
}

func verify(text []byte, expect audit.Expect) (audit.Report, *audit.TamperError, error) {
	report, err := audit.Verify(bytes.NewReader(text), expect)
	bad, _ := errors.AsType[*audit.TamperError](err)
	return report, bad, err
}

func TestAnIntactLogIsVerified(t *testing.T) {
	t.Parallel()
	text, points := log(t, 10, 4, nil)
	for _, expect := range []audit.Expect{{}, {Keys: []ed25519.PublicKey{signer(2).Public(), signer(1).Public()}, Checkpoints: points, WorkspaceID: &someWorkspace}} {
		report, _, err := verify(text, expect)
		if err != nil {
			t.Fatal(err)
		}
		if report.Rows != 10 || report.Last != 10 || report.Checkpoints != 3 || report.Erased != 0 || report.Hash != points[2].Hash {
			t.Errorf("%+v", report)
		}
	}
	later, _ := log(t, 5, 2, &points[1])
	report, _, err := verify(later, audit.Expect{Checkpoints: points})
	if err != nil || report.After != 8 || report.Last != 13 || report.Rows != 5 {
		t.Errorf("%+v %v", report, err)
	}
	// Nobody drops rows that are so young: whoever did took them away.
	for after, tampered := range map[time.Duration]bool{0: true, 59 * 24 * time.Hour: true, 61 * 24 * time.Hour: false} {
		_, bad, err := verify(later, audit.Expect{Now: points[1].At.Add(after)})
		if (err != nil) != tampered || tampered && (bad == nil || bad.Fault != audit.FaultMissing || bad.Seq != 8) {
			t.Errorf("%s later: %v", after, err)
		}
	}
	if _, _, err := verify(text, audit.Expect{Now: points[1].At}); err != nil {
		t.Errorf("a log that is whole: %v", err)
	}
	empty, _ := log(t, 0, 1, nil)
	if report, _, err := verify(empty, audit.Expect{}); err != nil || report.Rows != 0 {
		t.Errorf("an empty log: %+v %v", report, err)
	}
}

// The bytes are a promise: logs that were signed years ago must verify.
func TestTheCanonicalFormStays(t *testing.T) {
	t.Parallel()
	e := anEvent(1)
	e.Changes = json.RawMessage(`{ "a": 1 }`)
	hash := audit.Next(audit.Hash{}, someWorkspace, 1, e)
	if got, want := hash.String(), goldenHash; got != want {
		t.Errorf("the hash of the first event is %s, it was %s", got, want)
	}
	if got, want := e.PersonalHash, goldenPersonal; got != want {
		t.Errorf("the hash of personal data is %s, it was %s", got, want)
	}
	c := signer(1).Sign(someWorkspace, 1, hash, e.At)
	if got, want := hex.EncodeToString(c.Signature[:8]), goldenSignature; got != want {
		t.Errorf("the signature begins with %s, it was %s", got, want)
	}
}

func TestTwoEventsThatDifferAnywhereDifferInTheirBytes(t *testing.T) {
	t.Parallel()
	base := anEvent(3)
	seen := map[string]string{string(audit.Canonical(base)): "the event"}
	for what, change := range map[string]func(*corp.AuditEvent){
		"id": func(e *corp.AuditEvent) { e.ID[15]++ }, "at": func(e *corp.AuditEvent) { e.At = e.At.Add(time.Microsecond) },
		"actor": func(e *corp.AuditEvent) { e.Actor += "x" }, "via": func(e *corp.AuditEvent) { e.Via += "x" },
		"cut elsewhere": func(e *corp.AuditEvent) { e.Actor, e.Via = "user_1k", "ey_1" },
		"operation":     func(e *corp.AuditEvent) { e.Operation += "x" }, "action": func(e *corp.AuditEvent) { e.Action += "x" },
		"target": func(e *corp.AuditEvent) { e.Target += "x" }, "result": func(e *corp.AuditEvent) { e.Result = corp.AuditDenied },
		"request": func(e *corp.AuditEvent) { e.RequestID += "x" }, "changes": func(e *corp.AuditEvent) { e.Changes = json.RawMessage(`{}`) },
		"no changes": func(e *corp.AuditEvent) { e.Changes = nil }, "personal": func(e *corp.AuditEvent) { e.PersonalHash = "00" },
	} {
		e := base
		change(&e)
		if other, ok := seen[string(audit.Canonical(e))]; ok {
			t.Errorf("%s and %s have the same bytes", what, other)
		}
		seen[string(audit.Canonical(e))] = what
	}
	e := base
	e.At = e.At.In(time.FixedZone("x", 3600))
	e.Changes = json.RawMessage("{ \"name\":\"a<b\",\n\"budget_nanodollars\":12 }")
	e.Personal = &corp.AuditPersonal{}
	if !bytes.Equal(audit.Canonical(e), audit.Canonical(base)) {
		t.Error("the time zone, the spaces of JSON or the personal data make another event")
	}
}

func TestErasedPersonalDataIsNoFault(t *testing.T) {
	t.Parallel()
	text, _ := log(t, 6, 3, nil)
	erased := bytes.ReplaceAll(text, []byte(`,"personal":{"salt":"salt","address":"192.0.2.1","user_agent":"corp/1","email":"a@example.com"}`), nil)
	if bytes.Equal(text, erased) {
		t.Fatal("nothing was erased")
	}
	report, _, err := verify(erased, audit.Expect{})
	if err != nil || report.Erased != 2 || report.Rows != 6 {
		t.Errorf("%+v %v", report, err)
	}
}

// Attack case 44. Control: the untouched log is verified, in TestAnIntactLogIsVerified.
func TestEveryFlippedByteIsFound(t *testing.T) {
	t.Parallel()
	text, _ := log(t, 4, 2, nil)
	for _, expect := range []audit.Expect{{}, {Keys: []ed25519.PublicKey{signer(1).Public()}, WorkspaceID: &someWorkspace}} {
		for i := range text {
			for _, mask := range []byte{1, 0x20, 0x80} {
				changed := bytes.Clone(text)
				changed[i] ^= mask
				_, bad, _ := verify(changed, expect)
				if bad == nil {
					t.Fatalf("byte %d ^ %#x of %q was not found", i, mask, text[max(0, i-30):min(len(text), i+30)])
				}
				if line := 1 + bytes.Count(text[:i], []byte("\n")); bad.Line != 0 && bad.Line > line+4 || bad.Line != 0 && bad.Line < line && line != 1 {
					t.Fatalf("byte %d of line %d: %v (line %d)", i, line, bad, bad.Line)
				}
			}
		}
	}
}

func lines(text []byte) [][]byte {
	return bytes.SplitAfter(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
}

func TestEveryMissingLineIsNamed(t *testing.T) {
	t.Parallel()
	text, points := log(t, 9, 4, nil) // lines: head, 1-4, point, 5-8, point, 9, point
	all := lines(text)
	seqs := []int64{0, 1, 2, 3, 4, -4, 5, 6, 7, 8, -8, 9, -9}
	for i := range all {
		cut := bytes.Join(slices.Delete(slices.Clone(all), i, i+1), nil)
		_, bad, err := verify(cut, audit.Expect{Checkpoints: points})
		switch seq := seqs[i]; {
		case i == 0 && (bad == nil || bad.Fault != audit.FaultUnreadable):
			t.Errorf("without its head: %v", err)
		case seq > 0 && (bad == nil || bad.Fault != audit.FaultMissing || bad.Seq != seq):
			t.Errorf("without row %d: %v", seq, err)
		case seq < 0 && seq != -9 && bad != nil: // the next checkpoint covers its rows
			t.Errorf("without the checkpoint of %d: %v", -seq, err)
		case seq == -9 && (bad == nil || bad.Fault != audit.FaultCut || bad.Seq != 9):
			t.Errorf("without the last checkpoint: %v", err)
		}
	}
}

func TestACutTailIsFound(t *testing.T) {
	t.Parallel()
	text, points := log(t, 9, 4, nil)
	all := lines(text)
	for n := 1; n < len(all); n++ {
		cut := bytes.Join(all[:n], nil)
		_, bad, err := verify(cut, audit.Expect{})
		atPoint := n == 1 || n == 6 || n == 11
		if !atPoint && (bad == nil || bad.Fault != audit.FaultCut) {
			t.Errorf("the first %d lines: %v", n, err)
		}
		if atPoint && err != nil {
			t.Errorf("%d lines are a whole log: %v", n, err)
		}
		_, bad, err = verify(cut, audit.Expect{Checkpoints: points[2:]})
		if bad == nil || bad.Fault != audit.FaultCut {
			t.Errorf("the first %d lines, with a checkpoint kept elsewhere: %v", n, err)
		}
	}
}

func TestEveryTwoRowsThatChangePlacesAreNamed(t *testing.T) {
	t.Parallel()
	text, _ := log(t, 9, 4, nil)
	all := lines(text)
	for i := 1; i < len(all); i++ {
		for j := i + 1; j < len(all); j++ {
			moved := slices.Clone(all)
			moved[i], moved[j] = moved[j], moved[i]
			_, bad, err := verify(bytes.Join(moved, nil), audit.Expect{})
			if bad == nil {
				t.Fatalf("lines %d and %d changed places: %v", i, j, err)
			}
			if rows := bytes.HasPrefix(all[i], []byte(`{"row"`)) && bytes.HasPrefix(all[j], []byte(`{"row"`)); rows && bad.Fault != audit.FaultReordered {
				t.Errorf("rows in lines %d and %d: %v", i, j, err)
			}
		}
	}
	twice := slices.Insert(slices.Clone(all), 2, all[1])
	if _, bad, err := verify(bytes.Join(twice, nil), audit.Expect{}); bad == nil || bad.Fault != audit.FaultReordered || bad.Seq != 1 {
		t.Errorf("a row that is there twice: %v", err)
	}
}

// Who may write the database but has not the key can make a chain, and no checkpoint.
func TestAChainThatWasMadeAnewIsFound(t *testing.T) {
	t.Parallel()
	_, points := log(t, 8, 4, nil)
	remake := func(keyed byte, signed bool) []byte {
		var out bytes.Buffer
		w, _ := audit.NewWriter(&out, someWorkspace, signer(keyed).Public(), nil)
		var prev audit.Hash
		for i := int64(1); i <= 8; i++ {
			e := anEvent(int(i))
			if i == 6 {
				e.Target = "agent_of_somebody_else"
			}
			prev = audit.Next(prev, someWorkspace, i, e)
			_ = w.Row(audit.Row{Seq: i, Hash: prev, Event: &e})
			if i%4 == 0 {
				c := points[i/4-1]
				if signed {
					c = signer(keyed).Sign(someWorkspace, i, prev, c.At)
				}
				_ = w.Checkpoint(c)
			}
		}
		return out.Bytes()
	}
	_, bad, err := verify(remake(1, false), audit.Expect{})
	if bad == nil || bad.Fault != audit.FaultRewritten || bad.Seq != 5 {
		t.Errorf("with the old checkpoints: %v", err)
	}
	_, bad, err = verify(remake(2, true), audit.Expect{Keys: []ed25519.PublicKey{signer(1).Public()}})
	if bad == nil || bad.Fault != audit.FaultKey {
		t.Errorf("with another key: %v", err)
	}
	_, bad, err = verify(remake(1, true), audit.Expect{Checkpoints: points})
	if bad == nil || bad.Fault != audit.FaultRewritten || bad.Seq != 5 {
		t.Errorf("with the key, but not what was kept elsewhere: %v", err)
	}
	forged := points[1]
	forged.Hash[0] ^= 1
	text, _ := log(t, 8, 4, nil)
	if _, bad, err := verify(text, audit.Expect{Checkpoints: []audit.Checkpoint{forged}}); bad == nil || bad.Fault != audit.FaultCheckpoint {
		t.Errorf("what was kept is forged: %v", err)
	}
}

func TestAnEventThatIsGoneIsNamed(t *testing.T) {
	t.Parallel()
	text, _ := log(t, 4, 4, nil)
	all := lines(text)
	var row struct{ Row audit.Row }
	if err := json.Unmarshal(all[2], &row); err != nil {
		t.Fatal(err)
	}
	all[2] = fmt.Appendf(nil, `{"row":{"seq":2,"hash":"%s","event":null}}`+"\n", row.Row.Hash)
	_, bad, err := verify(bytes.Join(all, nil), audit.Expect{})
	if diff := cmp.Diff(&audit.TamperError{Fault: audit.FaultMissing, Line: 3, Seq: 2, Detail: "Its event is not there, though it was sealed."}, bad); diff != "" {
		t.Error(err, diff)
	}
}

func FuzzVerifyNeverPanicsAndAcceptsOnlyWhatWasWritten(f *testing.F) {
	text, points := log(f, 6, 3, nil)
	f.Add(text)
	later, _ := log(f, 2, 2, &points[0])
	f.Add(later)
	f.Add([]byte("{}\n"))
	key := []ed25519.PublicKey{signer(1).Public()}
	f.Fuzz(func(t *testing.T, given []byte) {
		report, err := audit.Verify(bytes.NewReader(given), audit.Expect{Keys: key, WorkspaceID: &someWorkspace})
		// Nobody has the key, so what is accepted begins as the log that was signed.
		if err == nil && report.Rows > 0 && !bytes.HasPrefix(text, given) && !bytes.HasPrefix(later, given) {
			erased := bytes.Contains(given, []byte(`"personal_hash"`)) && report.Erased > 0
			skipped := report.Checkpoints < 2
			if !erased && !skipped {
				t.Errorf("accepted:\n%s", given)
			}
		}
	})
}

func TestPublicKeysReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	key := signer(1).Public()
	again, err := audit.ParsePublicKey(audit.PublicKeyText(key))
	if err != nil || !again.Equal(key) {
		t.Errorf("%v %v", again, err)
	}
	for _, bad := range []string{"", "x", audit.PublicKeyText(key)[1:], audit.PublicKeyText(key) + "A"} {
		if _, err := audit.ParsePublicKey(bad); corp.KindOf(err) != corp.KindInvalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
