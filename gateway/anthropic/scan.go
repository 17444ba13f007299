package anthropic

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/bits"
	"unicode/utf8"
)

var errJSON = errors.New("it is not a JSON object")

// maxDepth is how deep a request may nest: far beyond any real one, and shallow
// enough for the stack.
const maxDepth = 500

// scanner walks JSON strictly, once, without building anything: what it lets
// through every other parser reads the same way. Keys and short strings are
// compared after their escapes are resolved, so nothing hides behind \u0061.
type scanner struct {
	b     []byte
	i     int
	depth int
}

// span is where a value stands in the body.
type span struct{ from, to int }

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// peek returns the next byte that is not white space, and 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.i >= len(s.b) {
		return 0
	}
	return s.b[s.i]
}

// object walks an object; each is called with a key and must consume its value.
func (s *scanner) object(each func(key []byte) error) error {
	return s.nested('{', '}', func() error {
		key, err := s.text()
		if err != nil {
			return err
		}
		if s.peek() != ':' {
			return errJSON
		}
		s.i++
		return each(key)
	})
}

// array walks an array; each must consume one value.
func (s *scanner) array(each func() error) error { return s.nested('[', ']', each) }

func (s *scanner) nested(open, end byte, item func() error) error {
	if s.peek() != open {
		return errJSON
	}
	s.i++
	if s.depth++; s.depth > maxDepth {
		return errJSON
	}
	defer func() { s.depth-- }()
	if s.peek() == end {
		s.i++
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.i++
		case end:
			s.i++
			return nil
		default:
			return errJSON
		}
	}
}

// skip consumes one value of any kind and returns where it stands.
func (s *scanner) skip() (span, error) {
	var err error
	c := s.peek()
	from := s.i
	switch {
	case c == '{':
		err = s.object(func([]byte) error { _, err := s.skip(); return err })
	case c == '[':
		err = s.array(func() error { _, err := s.skip(); return err })
	case c == '"':
		_, err = s.raw()
	case c == '-' || c >= '0' && c <= '9':
		err = s.number()
	default:
		err = s.word()
	}
	return span{from, s.i}, err
}

func (s *scanner) word() error {
	for _, w := range []string{"true", "false", "null"} {
		if bytes.HasPrefix(s.b[s.i:], []byte(w)) {
			s.i += len(w)
			return nil
		}
	}
	return errJSON
}

func (s *scanner) number() error {
	if s.b[s.i] == '-' {
		s.i++
	}
	if s.i < len(s.b) && s.b[s.i] == '0' {
		s.i++
	} else if s.digits() == 0 {
		return errJSON
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if s.digits() == 0 {
			return errJSON
		}
	}
	if s.i < len(s.b) && (s.b[s.i] == 'e' || s.b[s.i] == 'E') {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		if s.digits() == 0 {
			return errJSON
		}
	}
	return nil
}

func (s *scanner) digits() (n int) {
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
		n++
	}
	return n
}

// text consumes a string and returns what it says.
func (s *scanner) text() ([]byte, error) {
	raw, err := s.raw()
	if err != nil {
		return nil, err
	}
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner, nil
	}
	var out string
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, errJSON
	}
	return []byte(out), nil
}

// raw consumes a string and returns it as it stands, quotes included.
func (s *scanner) raw() ([]byte, error) {
	if s.peek() != '"' {
		return nil, errJSON
	}
	from := s.i
	s.i++
	for {
		s.i += plainBytes(s.b[s.i:])
		if s.i >= len(s.b) {
			return nil, errJSON
		}
		switch s.b[s.i] {
		case '"':
			s.i++
			raw := s.b[from:s.i]
			if !utf8.Valid(raw) {
				return nil, errJSON
			}
			return raw, nil
		case '\\':
			if err := s.escape(); err != nil {
				return nil, err
			}
		default: // a control character, which JSON does not allow in a string
			return nil, errJSON
		}
	}
}

// plainBytes returns how many bytes stand before the next quote, backslash or
// control character. It looks at eight at a time: nearly all of a request is text.
func plainBytes(b []byte) int {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; len(b)-i >= 8; i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		quote, slash := x^('"'*ones), x^('\\'*ones)
		hit := (quote-ones)&^quote | (slash-ones)&^slash | (x-' '*ones)&^x
		if hit &= high; hit != 0 {
			return i + bits.TrailingZeros64(hit)/8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c == '"' || c == '\\' || c < ' ' {
			break
		}
	}
	return i
}

// escape consumes a backslash and what belongs to it.
func (s *scanner) escape() error {
	if s.i+1 >= len(s.b) {
		return errJSON
	}
	switch s.b[s.i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i += 2
		return nil
	case 'u':
		if s.i+6 > len(s.b) {
			return errJSON
		}
		for _, c := range s.b[s.i+2 : s.i+6] {
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return errJSON
			}
		}
		s.i += 6
		return nil
	default:
		return errJSON
	}
}
