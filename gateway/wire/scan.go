package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/bits"
	"unicode/utf8"
)

// ErrJSON says that a text is not strict JSON.
var ErrJSON = errors.New("it is not a JSON object")

// maxDepth is how deep a request may nest: far beyond any real one, and shallow
// enough for the stack.
const maxDepth = 500

// Scanner walks JSON strictly, once, without building anything: what it lets
// through every other parser reads the same way. Keys and short strings are
// compared after their escapes are resolved, so nothing hides behind \u0061.
type Scanner struct {
	b     []byte
	i     int
	depth int
}

// NewScanner returns a scanner at the beginning of b, which it never changes.
func NewScanner(b []byte) *Scanner { return &Scanner{b: b} }

// At returns how many bytes have been consumed.
func (s *Scanner) At() int { return s.i }

// Bytes returns what stands at a place.
func (s *Scanner) Bytes(at Span) []byte { return s.b[at.From:at.To] }

// Span is where a value stands in the body.
type Span struct{ From, To int }

// Space passes over white space.
func (s *Scanner) Space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// Peek returns the next byte that is not white space, and 0 at the end.
func (s *Scanner) Peek() byte {
	s.Space()
	if s.i >= len(s.b) {
		return 0
	}
	return s.b[s.i]
}

// Object walks an object; each is called with a key and must consume its value.
func (s *Scanner) Object(each func(key []byte) error) error {
	return s.nested('{', '}', func() error {
		key, err := s.Text()
		if err != nil {
			return err
		}
		if s.Peek() != ':' {
			return ErrJSON
		}
		s.i++
		return each(key)
	})
}

// Objects walks an array of objects and lets field consume each field's value.
// Anything else in its place is skipped: the vendor will refuse it.
func (s *Scanner) Objects(field func(s *Scanner, key string) error) error {
	if s.Peek() != '[' {
		_, err := s.Skip()
		return err
	}
	return s.Array(func() error {
		if s.Peek() != '{' {
			_, err := s.Skip()
			return err
		}
		return s.Object(func(key []byte) error { return field(s, string(key)) })
	})
}

// Array walks an array; each must consume one value.
func (s *Scanner) Array(each func() error) error { return s.nested('[', ']', each) }

func (s *Scanner) nested(open, end byte, item func() error) error {
	if s.Peek() != open {
		return ErrJSON
	}
	s.i++
	if s.depth++; s.depth > maxDepth {
		return ErrJSON
	}
	defer func() { s.depth-- }()
	if s.Peek() == end {
		s.i++
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		switch s.Peek() {
		case ',':
			s.i++
		case end:
			s.i++
			return nil
		default:
			return ErrJSON
		}
	}
}

// Skip consumes one value of any kind and returns where it stands.
func (s *Scanner) Skip() (Span, error) {
	var err error
	c := s.Peek()
	from := s.i
	switch {
	case c == '{':
		err = s.Object(func([]byte) error { _, err := s.Skip(); return err })
	case c == '[':
		err = s.Array(func() error { _, err := s.Skip(); return err })
	case c == '"':
		_, err = s.raw()
	case c == '-' || c >= '0' && c <= '9':
		err = s.number()
	default:
		err = s.word()
	}
	return Span{from, s.i}, err
}

func (s *Scanner) word() error {
	for _, w := range []string{"true", "false", "null"} {
		if bytes.HasPrefix(s.b[s.i:], []byte(w)) {
			s.i += len(w)
			return nil
		}
	}
	return ErrJSON
}

func (s *Scanner) number() error {
	if s.b[s.i] == '-' {
		s.i++
	}
	if s.i < len(s.b) && s.b[s.i] == '0' {
		s.i++
	} else if s.digits() == 0 {
		return ErrJSON
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if s.digits() == 0 {
			return ErrJSON
		}
	}
	if s.i < len(s.b) && (s.b[s.i] == 'e' || s.b[s.i] == 'E') {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		if s.digits() == 0 {
			return ErrJSON
		}
	}
	return nil
}

func (s *Scanner) digits() (n int) {
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
		n++
	}
	return n
}

// Text consumes a string and returns what it says.
func (s *Scanner) Text() ([]byte, error) {
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
		return nil, ErrJSON
	}
	return []byte(out), nil
}

// raw consumes a string and returns it as it stands, quotes included.
func (s *Scanner) raw() ([]byte, error) {
	if s.Peek() != '"' {
		return nil, ErrJSON
	}
	from := s.i
	s.i++
	for {
		s.i += plainBytes(s.b[s.i:])
		if s.i >= len(s.b) {
			return nil, ErrJSON
		}
		switch s.b[s.i] {
		case '"':
			s.i++
			raw := s.b[from:s.i]
			if !utf8.Valid(raw) {
				return nil, ErrJSON
			}
			return raw, nil
		case '\\':
			if err := s.escape(); err != nil {
				return nil, err
			}
		default: // a control character, which JSON does not allow in a string
			return nil, ErrJSON
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
func (s *Scanner) escape() error {
	if s.i+1 >= len(s.b) {
		return ErrJSON
	}
	switch s.b[s.i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i += 2
		return nil
	case 'u':
		if s.i+6 > len(s.b) {
			return ErrJSON
		}
		for _, c := range s.b[s.i+2 : s.i+6] {
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return ErrJSON
			}
		}
		s.i += 6
		return nil
	default:
		return ErrJSON
	}
}
