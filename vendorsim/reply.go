package vendorsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

const (
	defaultChunk    = 64
	defaultPing     = time.Second
	filler          = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor. "
	hangupFinish    = "finish"
	hangupStop      = "stop"
	countersPerConv = "conversation"
	countersShared  = "scenario"
)

// reply is one compiled answer.
type reply struct {
	thinking     snippet
	text         snippet
	textBytes    int
	toolCalls    []toolCall
	stopReason   string
	stopSequence string
	usage        usageFile
	headers      map[string]string
	pace         pace
	stopOnHangup bool
	inserts      []insert
	fields       fields
}

// pace is how fast an answer leaves: the time to its first byte, the time before
// each delta, and the most bytes of text in one delta.
type pace struct {
	firstByte time.Duration
	between   time.Duration
	chunk     int
}

// insert is a piece of raw stream that the vendor's own grammar does not have.
type insert struct {
	after int
	raw   string
}

// fields are JSON members, each with a leading comma, appended to the objects of
// an answer.
type fields struct{ event, message, usage, block, delta string }

var (
	stopReasonRE = regexp.MustCompile(`^[a-z_]*$`)
	errDirection = errors.New("write text or text_bytes, not both")
)

func compileReply(f *replyFile, shared *scenarioFile, known capture) (reply, error) {
	r := reply{
		textBytes: f.TextBytes, stopReason: f.StopReason, stopSequence: f.StopSequence, usage: f.Usage,
		headers: mergeHeaders(shared.Headers, f.Headers),
	}
	err := checkHeaders(r.headers)
	if err != nil {
		return r, err
	}
	if r.thinking, err = parseSnippet(f.Thinking, known); err != nil {
		return r, fmt.Errorf("thinking: %w", err)
	}
	if r.text, err = parseSnippet(f.Text, known); err != nil {
		return r, fmt.Errorf("text: %w", err)
	}
	if err := checkReply(f); err != nil {
		return r, err
	}
	for i := range f.ToolCalls {
		call, err := compileToolCall(&f.ToolCalls[i], known)
		if err != nil {
			return r, fmt.Errorf("tool_calls[%d]: %w", i, err)
		}
		r.toolCalls = append(r.toolCalls, call)
	}
	if r.pace, err = compilePace(f.Pace, shared.Pace); err != nil {
		return r, err
	}
	if r.stopOnHangup, err = compileHangup(f.OnHangup, shared.OnHangup); err != nil {
		return r, err
	}
	if r.inserts, err = compileInserts(f.Insert); err != nil {
		return r, err
	}
	r.fields, err = compileFields(&f.Fields)
	return r, err
}

func checkReply(f *replyFile) error {
	switch {
	case f.Text != "" && f.TextBytes != 0:
		return errDirection
	case f.TextBytes < 0 || f.TextBytes > maxText:
		return fmt.Errorf("text_bytes must be between 0 and %d", maxText)
	case !stopReasonRE.MatchString(f.StopReason):
		return fmt.Errorf("stop_reason %q is no word in small letters", f.StopReason)
	}
	u := f.Usage
	for name, n := range map[string]*int64{
		"input": u.Input, "cache_read": u.CacheRead, "cache_write_5m": u.CacheWrite5m,
		"cache_write_1h": u.CacheWrite1h, "output": u.Output,
	} {
		if n != nil && (*n < 0 || *n > maxTokens) {
			return fmt.Errorf("usage.%s must be between 0 and %d", name, int64(maxTokens))
		}
	}
	return nil
}

func compileToolCall(f *toolCallFile, known capture) (toolCall, error) {
	t := toolCall{id: f.ID}
	var err error
	if t.name, err = parseSnippet(f.Name, known); err != nil {
		return t, fmt.Errorf("name: %w", err)
	}
	switch {
	case f.Name == "":
		return t, errors.New("the call needs a name")
	case f.InputJSON != "" && !f.Input.IsZero():
		return t, errors.New("write input or input_json, not both")
	case f.InputJSON != "":
		if t.json, err = parseSnippet(f.InputJSON, known); err == nil && t.json.tmpl == nil {
			err = checkObject(f.InputJSON)
		}
		return t, err
	case f.Input.IsZero():
		t.tree = &inputValue{isObj: true}
		return t, nil
	}
	tree, err := parseInput(&f.Input, known, 0)
	if err == nil && !tree.isObj {
		err = fmt.Errorf("line %d: the input must be a mapping", f.Input.Line)
	}
	t.tree = &tree
	return t, err
}

func compilePace(own, shared paceFile) (pace, error) {
	p := pace{
		firstByte: own.FirstByte.or(shared.FirstByte.or(0)),
		between:   own.Between.or(shared.Between.or(0)),
		chunk:     defaultChunk,
	}
	for _, c := range []*int{shared.Chunk, own.Chunk} {
		if c != nil {
			p.chunk = *c
		}
	}
	if p.chunk < 1 {
		return p, errors.New("pace.chunk must be at least 1 byte")
	}
	return p, nil
}

func compileHangup(own, shared string) (stop bool, err error) {
	if own == "" {
		own = shared
	}
	switch own {
	case "", hangupFinish:
		return false, nil
	case hangupStop:
		return true, nil
	default:
		return false, fmt.Errorf("on_hangup is %s or %s, not %q", hangupFinish, hangupStop, own)
	}
}

func compileInserts(files []insertFile) ([]insert, error) {
	var out []insert
	for i, f := range files {
		raw := f.Raw
		switch {
		case f.AfterEvents < 0:
			return nil, fmt.Errorf("insert[%d]: after_events must not be negative", i)
		case (raw == "") == (f.Data == ""):
			return nil, fmt.Errorf("insert[%d]: write data (with or without event) or raw", i)
		case raw == "":
			raw = "data: " + strings.ReplaceAll(strings.TrimSuffix(f.Data, "\n"), "\n", "\ndata: ") + "\n\n"
			if f.Event != "" {
				raw = "event: " + f.Event + "\n" + raw
			}
		case f.Event != "":
			return nil, fmt.Errorf("insert[%d]: event goes with data, not with raw", i)
		}
		out = append(out, insert{f.AfterEvents, raw})
	}
	return out, nil
}

func compileFields(f *fieldsFile) (out fields, err error) {
	for _, x := range []struct {
		name, text string
		to         *string
	}{
		{"event", f.Event, &out.event},
		{"message", f.Message, &out.message},
		{"usage", f.Usage, &out.usage},
		{"content_block", f.ContentBlock, &out.block},
		{"delta", f.Delta, &out.delta},
	} {
		text := strings.TrimSpace(x.text)
		if text == "" {
			continue
		}
		if !strings.HasPrefix(text, "{") || !json.Valid([]byte(text)) || strings.Contains(text, "\n") {
			return out, fmt.Errorf("fields.%s must be a JSON object on one line", x.name)
		}
		if members := strings.TrimSpace(text[1 : len(text)-1]); members != "" {
			*x.to = "," + members
		}
	}
	return out, nil
}

// mergeHeaders returns both sets, the later one winning, by canonical names.
func mergeHeaders(sets ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, set := range sets {
		for name, value := range set {
			out[http.CanonicalHeaderKey(name)] = value
		}
	}
	return out
}

// checkHeaders refuses those that would break the framing or pass the answer
// off as a real vendor's.
func checkHeaders(headers map[string]string) error {
	for _, name := range []string{SimulatedHeader, "Content-Length", "Transfer-Encoding", "Connection"} {
		if _, ok := headers[name]; ok {
			return fmt.Errorf("the header %s may not be scripted", name)
		}
	}
	return nil
}
