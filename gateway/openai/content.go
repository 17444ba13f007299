package openai

import (
	"bytes"
	"strings"

	"github.com/genericcorp/corp/gateway/wire"
)

// costly are the top-level fields with which a request asks for more than the
// tokens of its text at the usual price, by what to call it.
var costly = map[string]string{
	"web_search_options": "web searches at the vendor",
	"search_parameters":  "web searches at the vendor",
	"enable_search":      "web searches at the vendor",
	"web_search":         "web searches at the vendor",
	"plugins":            "plugins at the vendor",
	"data_sources":       "data sources at the vendor",
	"audio":              "spoken answers",
	"prediction":         "predicted output, of which what is rejected is billed too",
	"models":             "other models to fall back to",
	"fallbacks":          "other models to fall back to",
	"route":              "other models to fall back to",
	"use_beam_search":    "a beam search",
	"chat_template":      "a chat template of its own, which can write a prompt of any length",
}

// extra reads the top-level fields that only matter for the cost.
func (r *Request) extra(s *wire.Scanner, key string) error {
	return r.value(s, func(v []byte) {
		switch key {
		case "service_tier":
			r.unbounded(!usualTier(string(v)), "the service tier "+strings.Trim(string(v[:min(len(v), 40)]), `"`)+", whose price the price book does not know")
		case "modalities":
			r.unbounded(!wire.Blank(v) && string(bytes.Join(bytes.Fields(v), nil)) != `["text"]`, "answers that are not text")
		default:
			what, is := costly[key]
			r.unbounded(is && !wire.Blank(v) && string(v) != "false", what)
		}
	})
}

// usualTier says whether a tier costs no more than the price book says.
func usualTier(v string) bool {
	switch v {
	case "null", `""`, `"auto"`, `"default"`, `"standard"`, `"standard_only"`, `"on_demand"`, `"flex"`:
		return true
	default:
		return false
	}
}

func (r *Request) unbounded(is bool, what string) {
	if is && r.Unbounded == "" {
		r.Unbounded = what
	}
}

// content walks the messages: whatever stands anywhere in them counts, under any
// spelling of its name that a lenient server might take.
func (r *Request) content(s *wire.Scanner) error {
	switch s.Peek() {
	case '[':
		return s.Array(func() error { return r.content(s) })
	case '{':
		return s.Object(func(key []byte) error { return r.part(s, wire.Lower(key)) })
	default:
		_, err := s.Skip()
		return err
	}
}

// part reads one field of a message or of a part of its content.
func (r *Request) part(s *wire.Scanner, key string) error {
	switch key {
	case "image_url", "image":
		r.images++
		return r.image(s)
	case "input_audio", "audio", "audio_url":
		return r.value(s, func(v []byte) { r.unbounded(!wire.Blank(v), "audio") })
	case "video", "video_url", "input_video":
		return r.value(s, func(v []byte) { r.unbounded(!wire.Blank(v), "a video") })
	case "file", "file_id", "file_url", "file_data", "input_file":
		return r.value(s, func(v []byte) { r.unbounded(!wire.Blank(v), "a file") })
	default:
		return r.content(s)
	}
}

// image reads where an image comes from: the address itself, or an object with
// it. Only one that is packed into the request is known to be an image.
func (r *Request) image(s *wire.Scanner) error {
	switch s.Peek() {
	case '"':
		return r.address(s)
	case '{':
		return s.Object(func(key []byte) error {
			if strings.EqualFold(string(key), "url") {
				return r.image(s)
			}
			return r.content(s)
		})
	default:
		return r.content(s)
	}
}

func (r *Request) address(s *wire.Scanner) error {
	text, err := s.Text()
	if err == nil {
		const packed = "data:image/"
		inside := len(text) >= len(packed) && strings.EqualFold(string(text[:len(packed)]), packed)
		r.unbounded(!inside && len(text) > 0, "an image named by its URL")
	}
	return err
}

// tool reads one field of a tool's definition.
func (r *Request) tool(s *wire.Scanner, key string) error {
	if !strings.EqualFold(key, "type") || s.Peek() != '"' {
		_, err := s.Skip()
		return err
	}
	text, err := s.Text()
	if err != nil {
		return err
	}
	kind := string(text)
	r.unbounded(kind != "function" && kind != "custom", "a tool that the vendor runs ("+kind[:min(len(kind), 40)]+")")
	return nil
}
