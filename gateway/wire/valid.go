package wire

import "github.com/tidwall/gjson"

// Valid says whether a vendor's text is one JSON value, and no deeper than a
// request may be. A recursive check of megabytes of brackets would use up the
// stack, which ends the process and not only the call.
func Valid(text []byte) bool {
	level, inString := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString:
			switch c {
			case '\\':
				i++
			case '"':
				inString = false
			}
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			if level++; level > maxDepth {
				return false
			}
		case c == '}' || c == ']':
			level--
		}
	}
	return gjson.ValidBytes(text)
}
