package scheduler

import (
	"slices"

	"github.com/genericcorp/corp"
)

// shape is a set of labels that runs ask for, a node of a tree in which each
// step adds the next label in order. Walking it along a runner's own labels
// meets exactly the sets that the runner fits: however many labels somebody
// invents, they cost nothing to the runners that do not have them.
type shape struct {
	label    string
	runtime  string
	parent   *shape
	children map[string]*shape
	lanes    heap[*lane] // of workspaces with something due, the oldest first
	used     int         // lanes that belong here, in the heap or not
}

func newShape(runtime, label string, parent *shape) *shape {
	return &shape{
		label: label, runtime: runtime, parent: parent, children: map[string]*shape{},
		lanes: heap[*lane]{
			less: func(a, b *lane) bool { return older(a.byAge.top(), b.byAge.top()) },
			put:  func(ln *lane, i int) { ln.place = i },
		},
	}
}

// shape finds or makes the node of sorted labels.
func (s *Scheduler) shape(runtime string, labels []string) *shape {
	at := s.shapes[runtime]
	if at == nil {
		at = newShape(runtime, "", nil)
		s.shapes[runtime] = at
	}
	for _, label := range labels {
		next := at.children[label]
		if next == nil {
			next = newShape(runtime, label, at)
			at.children[label] = next
		}
		at = next
	}
	return at
}

// prune takes out the nodes that nothing needs any more.
func (s *Scheduler) prune(at *shape) {
	for at != nil && at.used == 0 && len(at.children) == 0 {
		if at.parent == nil {
			delete(s.shapes, at.runtime)
		} else {
			delete(at.parent.children, at.label)
		}
		at = at.parent
	}
}

// fitting returns the shapes that the runner fits and that somebody uses.
func (s *Scheduler) fitting(r Runner) []*shape {
	var found []*shape
	labels := slices.Compact(slices.Sorted(slices.Values(r.Labels)))
	for _, runtime := range slices.Compact(slices.Sorted(slices.Values(r.Runtimes))) {
		if root := s.shapes[runtime]; root != nil {
			found = root.within(labels, found)
		}
	}
	return found
}

func (sh *shape) within(labels []string, found []*shape) []*shape {
	if sh.used > 0 {
		found = append(found, sh)
	}
	if len(sh.children) == 0 {
		return found
	}
	for i, label := range labels {
		if child := sh.children[label]; child != nil {
			found = child.within(labels[i+1:], found)
		}
	}
	return found
}

// turn returns the workspace whose turn it is among those shapes: the runner's
// own, or the one whose run has waited longest and that is under its limit.
func (s *Scheduler) turn(only corp.WorkspaceID, fits []*shape) *workspace {
	if !only.IsZero() {
		if ws := s.workspaces[only]; ws != nil && !ws.full() {
			return ws
		}
		return nil
	}
	var first *lane
	for _, sh := range fits {
		for sh.lanes.len() > 0 && sh.lanes.top().of.full() {
			park(sh.lanes.top())
		}
		if sh.lanes.len() == 0 {
			continue
		}
		if ln := sh.lanes.top(); first == nil || older(ln.byAge.top(), first.byAge.top()) {
			first = ln
		}
	}
	if first == nil {
		return nil
	}
	return first.of
}
