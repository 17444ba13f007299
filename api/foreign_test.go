package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
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

// TestAForeignIDIsLikeAMissingOne replaces every id in every request of everybody by
// one of another workspace's and by one that was never made. Both must be answered
// with the same bytes, and nothing of the other workspace's may change.
// Attack cases 1 and 2. Control: the same requests with ids of their own succeed, in TestEveryOperationWithEveryRole.
func TestAForeignIDIsLikeAMissingOne(t *testing.T) {
	t.Parallel()
	h := ownHouse(t)
	victim := newVictim(t, h)
	before := victim.fingerprint(t)
	document := described()
	nouns := nounsOf(document)
	var ids, cases atomic.Int64
	as := slices.DeleteFunc(slices.Clone(callers), func(c caller) bool { return c.far }) // each is another workspace's here
	t.Run("operations", func(t *testing.T) {
		for _, op := range operations {
			places := idPlaces(document, nouns, op)
			if len(places) == 0 {
				continue
			}
			t.Run(op.id, func(t *testing.T) {
				t.Parallel()
				walked := victim.walk(t, op, as)
				for place, n := range walked {
					ids.Add(1)
					cases.Add(n)
					if n < int64(len(as)) && !corp.RoleOperator.May(op.action) { // the operator's ids are the installation's
						t.Errorf("%s was tried by %d of %d callers", place, n, len(as))
					}
				}
				for _, place := range places {
					if walked[place] == 0 {
						t.Errorf("no sample fills %s: add one, so that it is tested", place)
					}
				}
			})
		}
	})
	if diff := cmp.Diff(before, victim.fingerprint(t)); diff != "" {
		t.Errorf("rows of the victim's changed:\n%s", diff)
	}
	if !t.Failed() {
		t.Logf("matrix: %d operations x %d roles x %d ids = %d cases, each with a foreign id and a missing one, 0 leaks, %d of the victim's tables unchanged",
			len(operations), len(as), ids.Load(), cases.Load(), len(before))
	}
}

// walk tries every id of every sample of an operation as each of the callers, and
// says how often for each place.
func (v *victim) walk(t *testing.T, op operation, as []caller) map[string]int64 {
	t.Helper()
	o := v.house.office(t)
	made, walked := map[string][]sample{}, map[string]int64{}
	for _, c := range as {
		may := expected(op, c) == op.success()
		if may && c.role == corp.RoleOperator {
			continue
		}
		key := c.key(v.house, o, o)
		maker := o.keys[corp.RoleRunner]
		if may && (c.role == corp.RoleRunner || op.tag == "keys" || op.action == person) {
			maker = key
		}
		if made[maker] == nil {
			made[maker] = samples[op.id](t, o, maker)
		}
		for _, s := range made[maker] { // nothing that is refused uses them up
			for place, own := range findIDs(t, op, s) {
				walked[place]++
				v.attack(t, op, c, key, s, place, own)
			}
		}
	}
	return walked
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
	add(o.member(t, corp.RoleViewer).String())
	add(samples["revokeInvitation"](t, o, "")[0].path["invitation"])
	add(o.ws.String())
	add(o.mail(t).String())
	add(o.visitor().session.String())
	return v
}

// attack tries one place of one sample with the victim's id and with a missing one.
func (v *victim) attack(t *testing.T, op operation, c caller, key string, s sample, place, own string) {
	t.Helper()
	at := fmt.Sprintf("%s %s as %s", op, place, c.name)
	try := func(other string) (reply, string) {
		got := s.send(t, v.house, op, key, map[string]string{own: other})
		for _, r := range []string{canary, v.ws.String()} {
			if other != r && strings.Contains(got.body, r) {
				t.Errorf("%s: the answer shows %q", at, r)
			}
		}
		for _, h := range []string{"Date", "X-Request-Id"} {
			got.header.Del(h)
		}
		if got.header.Get("RateLimit") != "" { // what is left is less each time
			got.header.Set("RateLimit", "there")
		}
		return got, withoutRequestID(strings.ReplaceAll(got.body, other, "ID"))
	}
	prefix, _, _ := strings.Cut(own, "_")
	if v.ids[prefix] == "" {
		t.Fatalf("%s: the victim has no %s", at, prefix)
	}
	foreign, a := try(v.ids[prefix])
	missing, b := try(missingID(prefix))
	if foreign.status != missing.status || a != b {
		t.Errorf("%s: a foreign id gets %d %s\na missing one %d %s", at, foreign.status, a, missing.status, b)
	}
	if diff := cmp.Diff(missing.header, foreign.header); diff != "" {
		t.Errorf("%s: the headers tell them apart: %s", at, diff)
	}
	want := expected(op, c)
	lost := foreign.status == http.StatusConflict && foreign.problem(t).Kind == corp.KindLeaseLost || op.id == "beatRunner" && strings.Contains(foreign.body, `"say":"lost"`)
	if want == op.success() && foreign.status != http.StatusNotFound && !lost || want != op.success() && foreign.status != want {
		t.Errorf("%s: %d %s", at, foreign.status, foreign.body)
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

// fingerprint counts and sums every row of the workspace's and its people's, for
// each table.
func (v *victim) fingerprint(t *testing.T) map[string]string {
	t.Helper()
	sums := map[string]string{}
	for column, mine := range map[string]string{"workspace_id": `$1`, "user_id": `ANY (SELECT user_id FROM members WHERE workspace_id = $1)`} {
		tables := pgtest.Value[[]string](t, v.env, `
			SELECT array_agg(c.relname::text ORDER BY c.relname) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $1
			WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition`, column)
		for _, table := range tables {
			sums[table+" by "+column] = pgtest.Value[string](t, v.env, `SELECT count(*) || ' ' || coalesce(md5(string_agg(x::text, '|' ORDER BY x::text)), '') FROM `+table+` x WHERE `+column+` = `+mine, v.ws.UUID())
		}
	}
	if len(sums) < 30 {
		t.Fatalf("only %d tables were found", len(sums))
	}
	return sums
}

// nounsOf are the names by which something is named by its id: wherever an answer
// or a request has "agent_id", "agent" alone may be a name or an id.
func nounsOf(document *huma.OpenAPI) map[string]bool {
	nouns := map[string]bool{}
	for _, s := range document.Components.Schemas.Map() {
		for name, property := range s.Properties {
			if noun, is := strings.CutSuffix(name, "_id"); is && isID(property) {
				nouns[noun] = true
			}
		}
	}
	return nouns
}

// idPlaces lists where the description says that an operation takes an id, as
// "path.task", "header.Corp-Runner" or "body.leases[].run_id".
func idPlaces(document *huma.OpenAPI, nouns map[string]bool, op operation) (places []string) {
	d := find(document, op)
	for _, p := range d.Parameters {
		if isID(p.Schema) || p.In != "header" && nouns[p.Name] && len(p.Schema.Enum) == 0 {
			places = append(places, p.In+"."+p.Name)
		}
	}
	if d.RequestBody != nil && d.RequestBody.Content["application/json"] != nil {
		places = append(places, schemaIDs(document, nouns, d.RequestBody.Content["application/json"].Schema, "body")...)
	}
	return places
}

func find(document *huma.OpenAPI, op operation) *huma.Operation {
	method, path, _ := strings.Cut(op.route, " ")
	item := document.Paths[path]
	return map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete}[method]
}

func isID(s *huma.Schema) bool { return s != nil && strings.HasSuffix(s.Pattern, idForm) }

func schemaIDs(document *huma.OpenAPI, nouns map[string]bool, s *huma.Schema, at string) (places []string) {
	for s.Ref != "" {
		s = document.Components.Schemas.SchemaFromRef(s.Ref)
	}
	if isID(s) {
		return []string{at}
	}
	if s.Items != nil {
		places = append(places, schemaIDs(document, nouns, s.Items, at+"[]")...)
	}
	for name, property := range s.Properties {
		if nouns[name] && property.Type == huma.TypeString && len(property.Enum) == 0 {
			places = append(places, at+"."+name)
			continue
		}
		places = append(places, schemaIDs(document, nouns, property, at+"."+name)...)
	}
	return places
}

// Every segment of a path that is filled in is an id, an id or a name, or the name
// of an issuer, which is the installation's: no id hides as text.
func TestNoPathHidesAnID(t *testing.T) {
	t.Parallel()
	document := described()
	nouns := nounsOf(document)
	for _, noun := range []string{"agent", "schedule", "task", "run"} {
		if !nouns[noun] {
			t.Errorf("the description does not tell that %q names something", noun)
		}
	}
	for _, op := range operations {
		places := idPlaces(document, nouns, op)
		for segment := range strings.SplitSeq(op.route, "/") {
			if name := strings.Trim(segment, "{}"); name != segment && name != "issuer" && !slices.Contains(places, "path."+name) {
				t.Errorf("%s: {%s} is not described as an id", op, name)
			}
		}
	}
}

var anID = regexp.MustCompile(`^[a-z]+` + idForm)

// findIDs finds the ids in a sample, by the same names of places.
func findIDs(t *testing.T, op operation, s sample) map[string]string {
	t.Helper()
	found := map[string]string{}
	add := func(place, text string) {
		if anID.MatchString(text) {
			found[place] = text
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
	if strings.Contains(op.route, "{") && len(found) == 0 && !strings.Contains(op.route, "{issuer}") {
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
// Attack case 6. Control: the victim sees its own texts.
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
				if strings.Contains(mine, secret) && op.tag != "audit" { // whose hashes are of events
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

// A cursor is a place in a list and no key to one, and an idempotency key is the
// workspace's own.
// Attack case 7. Control: whom the cursor was given gets the rest of their list, and the same key is the same task there.
func TestAForeignCursorOpensNothing(t *testing.T) {
	t.Parallel()
	h := shared(t)
	mine, theirs := h.office(t), h.office(t)
	for range 3 {
		mine.submit(t)
		mine.agentOf(t)
	}
	first := must[corp.List[corp.Task]](t)(mine.owner().Tasks(t.Context(), client.TaskQuery{}, corp.Page{Limit: 1}))
	if first.NextCursor == "" {
		t.Fatal("no second page")
	}
	page := corp.Page{Limit: 10, Cursor: first.NextCursor}
	if rest := must[corp.List[corp.Task]](t)(mine.owner().Tasks(t.Context(), client.TaskQuery{}, page)); len(rest.Items) != 2 {
		t.Errorf("positive control: %d tasks are left", len(rest.Items))
	}
	if stolen := must[corp.List[corp.Task]](t)(theirs.owner().Tasks(t.Context(), client.TaskQuery{}, page)); len(stolen.Items) != 0 {
		t.Errorf("%d tasks of another workspace", len(stolen.Items))
	}
	document := described()
	for _, op := range operations { // every list, with the cursor of another one and of the same one elsewhere
		method, target, _ := strings.Cut(op.route, " ")
		if method != http.MethodGet || strings.Contains(target, "{") || !slices.ContainsFunc(find(document, op).Parameters, func(p *huma.Param) bool { return p.Name == "cursor" }) || corp.RoleOperator.May(op.action) {
			continue
		}
		var list corp.List[json.RawMessage]
		if err := json.Unmarshal([]byte(h.do(t, mine.keys[corp.RoleOwner], method, target+"?limit=1", nil, "").body), &list); err != nil {
			t.Fatal(err)
		}
		for _, cursor := range []string{first.NextCursor, list.NextCursor} {
			got := h.do(t, theirs.keys[corp.RoleOwner], method, target+"?limit=100&cursor="+cursor, nil, "")
			if strings.Contains(got.body, mine.ws.String()) || got.status >= 500 || slices.ContainsFunc(list.Items, func(item json.RawMessage) bool {
				return strings.Contains(got.body, string(item)) && op.id != "listPrices"
			}) {
				t.Errorf("%s with another workspace's cursor: %d %s", op, got.status, got.body)
			}
		}
	}
	task := mine.submit(t)
	spec := corp.TaskSpec{Prompt: "x", RepositoryURL: someURL}
	a := must[corp.Task](t)(mine.owner().SubmitTask(t.Context(), spec, "same-key"))
	b := must[corp.Task](t)(theirs.owner().SubmitTask(t.Context(), spec, "same-key"))
	if a.ID == b.ID || a.ID == task.ID {
		t.Error("an idempotency key reaches another workspace")
	}
	if again := must[corp.Task](t)(mine.owner().SubmitTask(t.Context(), spec, "same-key")); again.ID != a.ID {
		t.Error("positive control: the same key made another task")
	}
}
