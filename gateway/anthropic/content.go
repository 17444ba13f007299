package anthropic

import (
	"encoding/json"
	"strings"
)

// quote writes a text as JSON.
func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""` // unreachable: every string has a JSON form
	}
	return string(b)
}

// eachObject walks an array of objects and lets field consume each field's
// value. Anything else in its place is skipped: the vendor will refuse it.
func (s *scanner) eachObject(field func(s *scanner, key string) error) error {
	if s.peek() != '[' {
		_, err := s.skip()
		return err
	}
	return s.array(func() error {
		if s.peek() != '{' {
			_, err := s.skip()
			return err
		}
		return s.object(func(key []byte) error { return field(s, string(key)) })
	})
}

// content walks system or messages: whatever stands anywhere in them counts,
// except inside what the model or a tool said as data.
func (r *Request) content(s *scanner) error {
	switch s.peek() {
	case '[':
		return s.array(func() error { return r.content(s) })
	case '{':
		return s.object(func(key []byte) error { return r.block(s, string(key)) })
	default:
		_, err := s.skip()
		return err
	}
}

// block reads one field of a content block.
func (r *Request) block(s *scanner, key string) error {
	switch key {
	case "input": // arguments that a model wrote, with any keys
		_, err := s.skip()
		return err
	case "type":
		return r.kind(s, func(kind string) {
			switch kind {
			case "image":
				r.images++
			case "container_upload":
				r.unbounded(true, "an uploaded file")
			}
		})
	case "source":
		return r.source(s)
	case "file_id":
		return r.value(s, func(v []byte) { r.unbounded(!blank(v), "a file named by its id") })
	case "cache_control":
		return r.cache(s)
	default:
		return r.content(s)
	}
}

// source reads where an image or a document comes from. What is packed and is
// neither an image nor text is taken for a PDF.
func (r *Request) source(s *scanner) error {
	if s.peek() != '{' {
		return r.content(s)
	}
	packed, known := false, false
	err := s.object(func(key []byte) error {
		switch string(key) {
		case "type":
			return r.kind(s, func(kind string) {
				packed = packed || kind == "base64"
				r.unbounded(kind == "url", "content named by its URL")
				r.unbounded(kind == "file", "a file named by its id")
			})
		case "media_type":
			return r.kind(s, func(kind string) {
				known = strings.HasPrefix(kind, "image/") || strings.HasPrefix(kind, "text/")
				r.pages = r.pages || !known
			})
		case "url":
			return r.value(s, func(v []byte) { r.unbounded(!blank(v), "content named by its URL") })
		case "file_id":
			return r.value(s, func(v []byte) { r.unbounded(!blank(v), "a file named by its id") })
		default:
			return r.content(s)
		}
	})
	r.pages = r.pages || packed && !known
	return err
}

// kind consumes a value and shows what it says if it is a text.
func (r *Request) kind(s *scanner, is func(string)) error {
	if s.peek() != '"' {
		return r.content(s)
	}
	text, err := s.text()
	if err == nil {
		is(string(text))
	}
	return err
}

// cache reads a cache_control.
func (r *Request) cache(s *scanner) error {
	if s.peek() != '{' {
		_, err := s.skip()
		return err
	}
	return s.object(func(key []byte) error {
		if string(key) != "ttl" {
			_, err := s.skip()
			return err
		}
		return r.value(s, func(v []byte) {
			r.LongCache = r.LongCache || (!blank(v) && string(v) != `"5m"`)
		})
	})
}

// The beginnings of the types of tools that the agent carries out itself. All
// others run at the vendor, where each call reads the prompt again.
var clientTools = []string{"bash_", "text_editor_", "computer_", "memory_"}

// tool reads one field of a tool's definition.
func (r *Request) tool(s *scanner, key string) error {
	switch key {
	case "type":
		if s.peek() != '"' {
			_, err := s.skip()
			return err
		}
		text, err := s.text()
		if err != nil {
			return err
		}
		kind := string(text)
		if kind == "custom" {
			return nil
		}
		r.typed++
		for _, own := range clientTools {
			if strings.HasPrefix(kind, own) {
				return nil
			}
		}
		r.unbounded(true, "a tool that the vendor runs ("+kind[:min(len(kind), 40)]+")")
		return nil
	case "cache_control":
		return r.cache(s)
	default:
		_, err := s.skip()
		return err
	}
}

// compaction notes the one kind of context management that calls the model once
// more than max_tokens knows of.
func (r *Request) compaction(s *scanner) error {
	return r.value(s, func(v []byte) {
		r.unbounded(strings.Contains(string(v), "compact") || strings.Contains(string(v), `\u`), "compaction at the vendor")
	})
}
