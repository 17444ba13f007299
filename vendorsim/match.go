package vendorsim

import "slices"

// match is the set of conditions on a conversation; all that are given must hold.
type match struct{ matchFile }

// capture is what the expressions of a match took from the conversation.
type capture struct {
	groups []string          // numbered from 1 over all expressions, in the order of patterns()
	named  map[string]string // by the name of the group
}

// textMatch is one pattern with the text that it is for.
type textMatch struct {
	pattern *pattern
	text    func(*conversation) string
}

func (m *match) patterns() [5]textMatch {
	return [5]textMatch{
		{m.Model, func(c *conversation) string { return c.model }},
		{m.System, func(c *conversation) string { return c.system }},
		{m.Prompt, (*conversation).prompt},
		{m.LastUser, (*conversation).lastUser},
		{m.ToolResult, (*conversation).toolResult},
	}
}

// holds tests the conversation, adding what the expressions captured to got.
// The cheap conditions come first.
func (m *match) holds(c *conversation, got *capture) bool {
	if !m.ToolResults.has(c.toolResults) || !m.Turn.has(c.turn()) || !m.ToolCount.has(len(c.tools)) {
		return false
	}
	if (m.Stream != nil && *m.Stream != c.stream) || (m.ToolError != nil && *m.ToolError != c.toolError()) {
		return false
	}
	if !m.offers(c.tools) {
		return false
	}
	for _, t := range m.patterns() {
		if t.pattern == nil {
			continue
		}
		groups, ok := t.pattern.find(t.text(c))
		if !ok {
			return false
		}
		got.add(t.pattern, groups)
	}
	return true
}

func (m *match) offers(tools []string) bool {
	for _, want := range m.Tools {
		if !slices.Contains(tools, want) {
			return false
		}
	}
	return !slices.ContainsFunc(m.ToolsAbsent, func(t string) bool { return slices.Contains(tools, t) })
}

// add records the groups; nil groups (of an expression that was not run, at
// load time) stand for empty ones, so that the names are known.
func (g *capture) add(p *pattern, groups []string) {
	if p == nil || p.re == nil {
		return
	}
	for i, name := range p.re.SubexpNames() {
		if i == 0 {
			continue
		}
		var text string
		if groups != nil {
			text = groups[i]
		}
		g.groups = append(g.groups, text)
		if name == "" {
			continue
		}
		if g.named == nil {
			g.named = map[string]string{}
		}
		g.named[name] = text
	}
}

// hit is the rule that answers a conversation.
type hit struct {
	scenario *Scenario
	index    [2]int // of the scenario in the server, and of the rule in it
	rule     *rule
	capture  capture
}

// find returns the first rule that matches, in the order of the scenarios and of
// the rules in each.
func find(scenarios []*Scenario, c *conversation) (hit, bool) {
	for i, s := range scenarios {
		var shared capture
		if !s.when.holds(c, &shared) {
			continue
		}
		for j := range s.rules {
			got := shared.clone()
			if s.rules[j].match.holds(c, &got) {
				return hit{scenario: s, index: [2]int{i, j}, rule: &s.rules[j], capture: got}, true
			}
		}
	}
	return hit{}, false
}

func (g *capture) clone() capture {
	c := capture{groups: slices.Clone(g.groups)}
	for name, text := range g.named {
		if c.named == nil {
			c.named = make(map[string]string, len(g.named))
		}
		c.named[name] = text
	}
	return c
}
