package anthropic

import (
	"strings"

	"github.com/genericcorp/corp/gateway/wire"
)

// content walks system or messages: whatever stands anywhere in them counts,
// except inside what the model or a tool said as data.
func (r *Request) content(s *wire.Scanner) error {
	switch s.Peek() {
	case '[':
		return s.Array(func() error { return r.content(s) })
	case '{':
		return s.Object(func(key []byte) error { return r.block(s, wire.Lower(key)) })
	default:
		_, err := s.Skip()
		return err
	}
}

// block reads one field of a content block.
func (r *Request) block(s *wire.Scanner, key string) error {
	switch key {
	case "input": // arguments that a model wrote, with any keys
		_, err := s.Skip()
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
		return r.value(s, func(v []byte) { r.unbounded(!wire.Blank(v), "a file named by its id") })
	case "cache_control":
		return r.cache(s)
	default:
		return r.content(s)
	}
}

// source reads where an image or a document comes from. What is packed and is
// neither an image nor text is taken for a PDF.
func (r *Request) source(s *wire.Scanner) error {
	if s.Peek() != '{' {
		return r.content(s)
	}
	packed, known := false, false
	err := s.Object(func(key []byte) error {
		switch wire.Lower(key) {
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
			return r.value(s, func(v []byte) { r.unbounded(!wire.Blank(v), "content named by its URL") })
		case "file_id":
			return r.value(s, func(v []byte) { r.unbounded(!wire.Blank(v), "a file named by its id") })
		default:
			return r.content(s)
		}
	})
	r.pages = r.pages || packed && !known
	return err
}

// kind consumes a value and shows what it says if it is a text.
func (r *Request) kind(s *wire.Scanner, is func(string)) error {
	if s.Peek() != '"' {
		return r.content(s)
	}
	text, err := s.Text()
	if err == nil {
		is(string(text))
	}
	return err
}

// cache reads a cache_control.
func (r *Request) cache(s *wire.Scanner) error {
	if s.Peek() != '{' {
		_, err := s.Skip()
		return err
	}
	return s.Object(func(key []byte) error {
		if wire.Lower(key) != "ttl" {
			_, err := s.Skip()
			return err
		}
		return r.value(s, func(v []byte) {
			r.LongCache = r.LongCache || (!wire.Blank(v) && string(v) != `"5m"`)
		})
	})
}

// The beginnings of the types of tools that the agent carries out itself. All
// others run at the vendor, where each call reads the prompt again.
var clientTools = []string{"bash_", "text_editor_", "computer_", "memory_"}

// tool reads one field of a tool's definition.
func (r *Request) tool(s *wire.Scanner, key string) error {
	switch wire.Lower([]byte(key)) {
	case "type":
		if s.Peek() != '"' {
			_, err := s.Skip()
			return err
		}
		text, err := s.Text()
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
		_, err := s.Skip()
		return err
	}
}

// compaction notes the one kind of context management that calls the model once
// more than max_tokens knows of.
func (r *Request) compaction(s *wire.Scanner) error {
	return r.value(s, func(v []byte) {
		r.unbounded(strings.Contains(string(v), "compact") || strings.Contains(string(v), `\u`), "compaction at the vendor")
	})
}
