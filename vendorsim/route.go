package vendorsim

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
)

// hello answers the probes that agents send to see whether anybody is there.
func hello(x *exchange) { writeJSON(x.w, http.StatusOK, []byte(`{"message":"hello"}`)) }

// countTokens answers with the derived size of the prompt. It is free, so the
// books do not list it.
func (s *Server) countTokens(x *exchange) {
	if err := x.dialect.admit(s, x); err != nil {
		x.refuse(err)
		return
	}
	c, err := parse(x.body)
	if err == nil {
		err = c.checkPrompt(s.combine)
	}
	if err == nil {
		c.maxTokens = 1 // the list's limits on output do not apply
		err = c.checkModel(s.models)
	}
	if err != nil {
		x.refuse(err)
		return
	}
	body := strconv.AppendInt([]byte(`{"input_tokens":`), c.size.tokens(), 10)
	writeJSON(x.w, http.StatusOK, append(body, '}'))
}

// wireModel is a model as the vendor lists it.
type wireModel struct {
	Type        string `json:"type"`
	ID          string `json:"id"`
	DisplayName string `json:"display_name"`
	CreatedAt   string `json:"created_at"`
}

func (m *Model) wire() wireModel {
	return wireModel{"model", m.ID, orText(m.DisplayName, m.ID), orText(m.CreatedAt, "2025-01-01T00:00:00Z")}
}

const (
	defaultPage = 20
	maxPage     = 1000
)

func (s *Server) listModels(x *exchange) {
	if err := x.dialect.admit(s, x); err != nil {
		x.refuse(err)
		return
	}
	if x.dialect.name() == DialectChat {
		s.writeValue(x.w, chatModels(s.models))
		return
	}
	query := x.r.URL.Query()
	limit := defaultPage
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPage {
			x.refuse(invalid("limit: Input should be between 1 and %d", maxPage))
			return
		}
		limit = n
	}
	start := 0
	if after := query.Get("after_id"); after != "" {
		start = 1 + slices.IndexFunc(s.models, func(m Model) bool { return m.ID == after })
	}
	page := s.models[start:min(len(s.models), start+limit)]
	out := struct {
		Data    []wireModel `json:"data"`
		HasMore bool        `json:"has_more"`
		FirstID *string     `json:"first_id"`
		LastID  *string     `json:"last_id"`
	}{Data: []wireModel{}, HasMore: start+len(page) < len(s.models)}
	for i := range page {
		out.Data = append(out.Data, page[i].wire())
		out.LastID = &page[i].ID
	}
	if len(page) > 0 {
		out.FirstID = &page[0].ID
	}
	s.writeValue(x.w, out)
}

func (s *Server) showModel(x *exchange) {
	if err := x.dialect.admit(s, x); err != nil {
		x.refuse(err)
		return
	}
	id := x.r.PathValue("id")
	i := slices.IndexFunc(s.models, func(m Model) bool { return m.ID == id })
	chat := x.dialect.name() == DialectChat
	switch {
	case i < 0 && chat:
		x.refuse(noSuchModel(id))
		return
	case i < 0:
		x.refuse(refuse(http.StatusNotFound, "model: %s", id))
		return
	case chat:
		s.writeValue(x.w, s.models[i].chat())
		return
	}
	s.writeValue(x.w, s.models[i].wire())
}

func (s *Server) showBooks(w http.ResponseWriter, r *http.Request) {
	if n, ok := s.countParam(w, r); ok {
		s.writeValue(w, s.books.snapshot(n))
	}
}

func (s *Server) clearBooks(w http.ResponseWriter, _ *http.Request) {
	s.books.clear()
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) showRequests(w http.ResponseWriter, r *http.Request) {
	if n, ok := s.countParam(w, r); ok {
		s.writeValue(w, s.ring.last(n))
	}
}

// countParam reads ?n=, which limits an answer to the newest n; -1 if absent.
func (s *Server) countParam(w http.ResponseWriter, r *http.Request) (n int, ok bool) {
	text := r.URL.Query().Get("n")
	if text == "" {
		return -1, true
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		messagesDialect{}.writeError(invalid("n: write a count, 0 or more"), w, s.options.NewID("req_011"))
		return 0, false
	}
	return n, true
}

func (s *Server) writeValue(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		s.log.Error("encode answer failed", "error", err)
		messagesDialect{}.writeError(refuse(http.StatusInternalServerError, "Internal server error"), w, s.options.NewID("req_011"))
		return
	}
	writeJSON(w, http.StatusOK, body)
}
