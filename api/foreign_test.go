package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// canary stands in every text of the victim's.
const canary = "canary-of-the-victim-7f3a"

// TestAForeignIDIsLikeAMissingOne replaces every id in every request by one of
// another workspace's and by one that was never made. Both must be answered with
// the same bytes, and nothing of the other workspace's may change.
func TestAForeignIDIsLikeAMissingOne(t *testing.T) {
	t.Parallel()
	h := shared(t)
	victim := newVictim(t, h)
	before := victim.fingerprint(t)
	document := described()
	var cases atomic.Int64
	t.Run("operations", func(t *testing.T) {
		for _, op := range operations {
			places := idPlaces(document, op)
			if len(places) == 0 {
				continue
			}
			t.Run(op.id, func(t *testing.T) {
				t.Parallel()
				attacker := h.office(t)
				key := attacker.keys[corp.RoleOwner]
				if op.action == corp.RunnerLease {
					key = attacker.keys[corp.RoleRunner]
				}
				walked := map[string]bool{}
				for n := range samples[op.id](t, attacker, key) {
					for place := range findIDs(t, op, samples[op.id](t, attacker, key)[n]) {
						walked[place] = true
						cases.Add(1)
						victim.attack(t, op, attacker, key, n, place)
					}
				}
				for _, place := range places {
					if !walked[place] {
						t.Errorf("no sample fills %s: add one, so that it is tested", place)
					}
				}
			})
		}
	})
	if diff := cmp.Diff(before, victim.fingerprint(t)); diff != "" {
		t.Errorf("rows of the victim's changed:\n%s", diff)
	}
	t.Logf("%d places of ids were tried with a foreign and a missing one", cases.Load())
}

// victim is a workspace with one of everything.
type victim struct {
	*office
	ids map[string]string // by prefix
}

func newVictim(t *testing.T, h *house) *victim {
	t.Helper()
	o := h.office(t)
	v := &victim{o, map[string]string{}}
	add := func(id string) { v.ids[id[:strings.IndexByte(id, '_')]] = id }
	agent := o.agentOf(t)
	must[corp.Task](t)(o.owner().SubmitTask(t.Context(), corp.TaskSpec{Prompt: canary, Agent: agent.Name, RepositoryURL: someURL + "-" + canary}, ""))
	o.done(t)
	offer := o.running(t)
	must[int64](t)(o.runner().ReportEntries(t.Context(), corp.EntryBatch{Lease: offer.Lease, Entries: []corp.Entry{{Kind: corp.EntryMessage, Text: canary}}}))
	add(agent.ID.String())
	add(o.repository(t).String())
	add(o.schedule(t).String())
	add(o.batch(t).String())
	add(o.provider(t).String())
	add(o.source(t).String())
	add(offer.TaskID.String())
	add(offer.RunID.String())
	add(o.register(t, o.keys[corp.RoleRunner]).String())
	_, key := o.key(t, corp.RoleViewer)
	add(key.String())
	return v
}

// attack tries one place of one sample with the victim's id and with a missing one.
func (v *victim) attack(t *testing.T, op operation, attacker *office, key string, n int, place string) {
	t.Helper()
	try := func(id func(prefix string) string) (reply, string) {
		s := samples[op.id](t, attacker, key)[n] // each try may use its objects up
		own := findIDs(t, op, s)[place]
		other := id(own[:strings.IndexByte(own, '_')])
		got := s.send(t, v.house, op, key, map[string]string{own: other})
		for _, r := range []string{canary, v.ws.String()} {
			if strings.Contains(got.body, r) {
				t.Errorf("%s %s: the answer shows %q", op, place, r)
			}
		}
		return got, strings.ReplaceAll(got.body, other, "ID")
	}
	foreign, a := try(func(prefix string) string { return v.ids[prefix] })
	missing, b := try(missingID)
	a, b = withoutRequestID(a), withoutRequestID(b)
	if foreign.status != missing.status || a != b {
		t.Errorf("%s %s: a foreign id gets %d %s\na missing one %d %s", op, place, foreign.status, a, missing.status, b)
	}
	foreign.header.Del("Date")
	missing.header.Del("Date")
	foreign.header.Del("X-Request-Id")
	missing.header.Del("X-Request-Id")
	if diff := cmp.Diff(missing.header, foreign.header); diff != "" {
		t.Errorf("%s %s: the headers tell them apart: %s", op, place, diff)
	}
	lost := foreign.status == http.StatusConflict && foreign.problem(t).Kind == corp.KindLeaseLost || op.id == "beatRunner" && strings.Contains(foreign.body, `"say":"lost"`)
	if foreign.status != http.StatusNotFound && !lost {
		t.Errorf("%s %s: %d %s", op, place, foreign.status, foreign.body)
	}
}

func missingID(prefix string) string {
	id := corp.NewID[corp.TaskID]().String()
	return prefix + id[strings.IndexByte(id, '_'):]
}

func withoutRequestID(body string) string {
	var p map[string]any
	if json.Unmarshal([]byte(body), &p) != nil || p["request_id"] == nil {
		return body
	}
	return strings.ReplaceAll(body, fmt.Sprint(p["request_id"]), "")
}

// fingerprint is a sum of every row of the workspace's, for each table.
func (v *victim) fingerprint(t *testing.T) map[string]string {
	t.Helper()
	sums := map[string]string{}
	tables := pgtest.Value[[]string](t, v.env, `
		SELECT array_agg(c.relname::text ORDER BY c.relname) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'workspace_id'
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition`)
	for _, table := range tables {
		sums[table] = pgtest.Value[string](t, v.env, `SELECT count(*) || ' ' || coalesce(md5(string_agg(x::text, '|' ORDER BY x::text)), '') FROM `+table+` x WHERE workspace_id = $1`, v.ws.UUID())
	}
	if len(sums) < 10 {
		t.Fatalf("only %d tables were found", len(sums))
	}
	return sums
}

// idPlaces lists where the description says that an operation takes an id, as
// "path.task", "header.Corp-Runner" or "body.leases[].run_id".
func idPlaces(document *huma.OpenAPI, op operation) (places []string) {
	d := find(document, op)
	named := []string{"agent", "task", "run", "schedule"} // text, because a name or a list may stand there
	for _, p := range d.Parameters {
		if isID(p.Schema) || slices.Contains(named, p.Name) {
			places = append(places, p.In+"."+p.Name)
		}
	}
	if d.RequestBody != nil && d.RequestBody.Content["application/json"] != nil {
		places = append(places, schemaIDs(document, d.RequestBody.Content["application/json"].Schema, "body")...)
	}
	return places
}

func find(document *huma.OpenAPI, op operation) *huma.Operation {
	method, path, _ := strings.Cut(op.route, " ")
	item := document.Paths[path]
	return map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete}[method]
}

func isID(s *huma.Schema) bool { return s != nil && strings.HasSuffix(s.Pattern, idForm) }

func schemaIDs(document *huma.OpenAPI, s *huma.Schema, at string) (places []string) {
	for s.Ref != "" {
		s = document.Components.Schemas.SchemaFromRef(s.Ref)
	}
	if isID(s) {
		return []string{at}
	}
	if s.Items != nil {
		places = append(places, schemaIDs(document, s.Items, at+"[]")...)
	}
	for name, property := range s.Properties {
		if name == "agent" && property.Type == huma.TypeString {
			places = append(places, at+".agent")
			continue
		}
		places = append(places, schemaIDs(document, property, at+"."+name)...)
	}
	return places
}

// findIDs finds the ids in a sample, by the same names of places.
func findIDs(t *testing.T, op operation, s sample) map[string]string {
	t.Helper()
	found := map[string]string{}
	add := func(place, text string) {
		for _, prefix := range []string{"agent", "repo", "provider", "task", "run", "runner", "blob", "key", "schedule", "batch"} {
			if strings.HasPrefix(text, prefix+"_") && len(text) == len(prefix)+27 {
				found[place] = text
			}
		}
	}
	for name, value := range s.path {
		add("path."+name, value)
	}
	for name := range s.query {
		add("query."+name, s.query.Get(name))
	}
	for name, value := range s.header {
		add("header."+name, value)
	}
	if s.body != nil {
		var v any
		if err := json.Unmarshal([]byte(asJSON(t, s.body)), &v); err != nil {
			t.Fatal(err)
		}
		findIn(v, "body", add)
	}
	if strings.Contains(op.route, "{") && len(found) == 0 {
		t.Errorf("%s: its sample has no id", op)
	}
	return found
}

func findIn(v any, at string, add func(place, text string)) {
	switch v := v.(type) {
	case string:
		add(at, v)
	case []any:
		for _, x := range v {
			findIn(x, at+"[]", add)
		}
	case map[string]any:
		for name, x := range v {
			findIn(x, at+"."+name, add)
		}
	}
}

// No list, sum or event of one workspace shows anything of another's.
func TestNoListShowsTheCanary(t *testing.T) {
	t.Parallel()
	h := shared(t)
	v := newVictim(t, h)
	o := h.office(t)
	o.submit(t)
	for _, op := range operations {
		if method, target, _ := strings.Cut(op.route, " "); method == http.MethodGet && !strings.Contains(target, "{") && op.action != corp.WorkspaceManage && op.id != "stream" {
			mine := h.do(t, v.keys[corp.RoleOwner], method, target, nil, "").body
			theirs := h.do(t, o.keys[corp.RoleOwner], method, target, nil, "").body
			for _, text := range append([]string{canary, v.ws.String()}, mapValues(v.ids)...) {
				if strings.Contains(theirs, text) {
					t.Errorf("%s shows %q of another workspace", op, text)
				}
			}
			if op.id == "listTasks" && !strings.Contains(mine, canary) {
				t.Error("the victim does not see its own canary: this test proves nothing")
			}
			for _, secret := range []string{"u:" + canary, `"password"`, `"hash"`} {
				if strings.Contains(mine, secret) {
					t.Errorf("%s shows %q", op, secret)
				}
			}
		}
	}
}

func mapValues(m map[string]string) (values []string) {
	for _, v := range m {
		values = append(values, v)
	}
	return values
}

// A cursor is a place in a list and no key to one.
func TestAForeignCursorOpensNothing(t *testing.T) {
	t.Parallel()
	h := shared(t)
	mine, theirs := h.office(t), h.office(t)
	for range 3 {
		mine.submit(t)
	}
	first := must[corp.List[corp.Task]](t)(mine.owner().Tasks(t.Context(), client.TaskQuery{}, corp.Page{Limit: 1}))
	if first.NextCursor == "" {
		t.Fatal("no second page")
	}
	stolen := must[corp.List[corp.Task]](t)(theirs.owner().Tasks(t.Context(), client.TaskQuery{}, corp.Page{Limit: 10, Cursor: first.NextCursor}))
	if len(stolen.Items) != 0 {
		t.Errorf("%d tasks of another workspace", len(stolen.Items))
	}
	task := mine.submit(t)
	spec := corp.TaskSpec{Prompt: "x", RepositoryURL: someURL}
	a := must[corp.Task](t)(mine.owner().SubmitTask(t.Context(), spec, "same-key"))
	b := must[corp.Task](t)(theirs.owner().SubmitTask(t.Context(), spec, "same-key"))
	if a.ID == b.ID || a.ID == task.ID {
		t.Error("an idempotency key reaches another workspace")
	}
}
