package vendorsim

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// pattern is a test on a text. Each part that is set must hold.
type pattern struct {
	contains string
	lacks    string
	equals   *string
	re       *regexp.Regexp
}

// UnmarshalYAML reads a text, which must then be contained, or a mapping of
// contains, lacks, equals and regex.
func (p *pattern) UnmarshalYAML(n *yaml.Node) error {
	switch n.Kind {
	case yaml.ScalarNode:
		p.contains = n.Value
		return nil
	case yaml.MappingNode:
	default:
		return fmt.Errorf("line %d: a pattern is a text, or a mapping of contains, lacks, equals, regex", n.Line)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if err := p.set(n.Content[i], n.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func (p *pattern) set(key, value *yaml.Node) error {
	if value.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: %s must be a text", value.Line, key.Value)
	}
	switch key.Value {
	case "contains":
		p.contains = value.Value
	case "lacks":
		p.lacks = value.Value
	case "equals":
		p.equals = &value.Value
	case "regex":
		re, err := regexp.Compile(value.Value)
		if err != nil {
			return fmt.Errorf("line %d: %w", value.Line, err)
		}
		p.re = re
	default:
		return fmt.Errorf("line %d: field %s not found; a pattern has contains, lacks, equals, regex", key.Line, key.Value)
	}
	return nil
}

// find tests s and returns the groups of the expression, the whole match first.
func (p *pattern) find(s string) (groups []string, ok bool) {
	if p == nil {
		return nil, true
	}
	if !strings.Contains(s, p.contains) || (p.lacks != "" && strings.Contains(s, p.lacks)) || (p.equals != nil && *p.equals != s) {
		return nil, false
	}
	if p.re == nil {
		return nil, true
	}
	groups = p.re.FindStringSubmatch(s)
	return groups, groups != nil
}

// interval is a range of counts, both ends included: 3, 1.., ..4 or 2..4.
type interval struct{ low, high int }

// UnmarshalYAML reads a number or a range.
func (r *interval) UnmarshalYAML(n *yaml.Node) error {
	low, high, isRange := strings.Cut(n.Value, "..")
	if !isRange {
		high = low
	}
	var err error
	if r.low, err = bound(low, 0, isRange); err == nil {
		r.high, err = bound(high, math.MaxInt, isRange)
	}
	if n.Kind != yaml.ScalarNode || err != nil || low+high == "" || r.low > r.high {
		return fmt.Errorf("line %d: %q is no count or range; write 3, 1.., ..4 or 2..4", n.Line, n.Value)
	}
	return nil
}

func bound(s string, open int, isRange bool) (int, error) {
	if s == "" && isRange {
		return open, nil
	}
	u, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("parse count: %w", err)
	}
	return int(u), nil
}

func (r *interval) has(n int) bool { return r == nil || (r.low <= n && n <= r.high) }

// duration is a time span in Go's notation, such as 150ms; never negative.
type duration time.Duration

// UnmarshalYAML reads a span.
func (d *duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || v < 0 {
		return fmt.Errorf("line %d: %q is no time span; write 150ms, 2s or 1m", n.Line, n.Value)
	}
	*d = duration(v)
	return nil
}

func (d *duration) or(other time.Duration) time.Duration {
	if d == nil {
		return other
	}
	return time.Duration(*d)
}
