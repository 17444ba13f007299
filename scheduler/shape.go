package scheduler

import "slices"

// shape is a set of labels that runs ask for, a node of a tree in which each
// step adds the next label in order. Walking it along a runner's own labels
// meets exactly the sets that the runner fits: however many labels somebody
// invents, they cost nothing to the runners that do not have them.
type shape struct {
	label    string
	labels   []string // all of them, from the root on
	runtime  string
	parent   *shape
	children map[string]*shape
	queues   map[*class]*heap[*stand] // what can be picked, the workspace whose turn it is first
	used     int                      // stands that belong here, in a queue or not
}

func newShape(runtime, label string, parent *shape) *shape {
	sh := &shape{label: label, runtime: runtime, parent: parent, children: map[string]*shape{}, queues: map[*class]*heap[*stand]{}}
	if parent != nil {
		sh.labels = append(slices.Clone(parent.labels), label)
	}
	return sh
}

// queue finds or makes the queue of a class.
func (sh *shape) queue(c *class) *heap[*stand] {
	queue := sh.queues[c]
	if queue == nil {
		queue = &heap[*stand]{
			less: func(a, b *stand) bool { return a.of.before(b.of) },
			put:  func(st *stand, i int) { st.place = i },
		}
		sh.queues[c] = queue
	}
	return queue
}

// forget drops the queues of a class that has no workspace any more, here and
// below.
func (sh *shape) forget(c *class) {
	delete(sh.queues, c)
	for _, child := range sh.children {
		child.forget(c)
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
