package scheduler

// heap is a binary heap whose items know their place, so that any of them can
// be taken out in logarithmic time. The standard library's container/heap does
// the same through an interface value per item.
type heap[T any] struct {
	items []T
	less  func(a, b T) bool
	put   func(item T, place int) // -1 when it leaves
}

func (h *heap[T]) len() int { return len(h.items) }
func (h *heap[T]) top() T   { return h.items[0] }

func (h *heap[T]) push(item T) {
	h.items = append(h.items, item)
	h.put(item, len(h.items)-1)
	h.up(len(h.items) - 1)
}

func (h *heap[T]) remove(i int) {
	last := len(h.items) - 1
	h.swap(i, last)
	h.put(h.items[last], -1)
	var none T
	h.items[last] = none
	h.items = h.items[:last]
	if i < last {
		h.fix(i)
	}
}

// fix puts the item at i where it belongs after its key has changed.
func (h *heap[T]) fix(i int) {
	h.up(i)
	h.down(i)
}

func (h *heap[T]) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.less(h.items[i], h.items[parent]) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *heap[T]) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h.items); child++ {
			if h.less(h.items[child], h.items[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}

func (h *heap[T]) swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	h.put(h.items[i], i)
	h.put(h.items[j], j)
}
