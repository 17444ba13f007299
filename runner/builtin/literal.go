package builtin

import (
	"regexp/syntax"
)

// required returns a text that every match of the expression contains, or
// nothing. Looking for it first makes most files cost one fast scan.
func required(expression string) string {
	parsed, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return ""
	}
	return requiredOf(parsed.Simplify())
}

func requiredOf(re *syntax.Regexp) string {
	switch re.Op {
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 {
			return ""
		}
		return string(re.Rune)
	case syntax.OpCapture, syntax.OpPlus:
		return requiredOf(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return requiredOf(re.Sub[0])
		}
		return ""
	case syntax.OpConcat:
		longest := ""
		for _, sub := range re.Sub {
			if s := requiredOf(sub); len(s) > len(longest) {
				longest = s
			}
		}
		return longest
	default:
		return ""
	}
}
