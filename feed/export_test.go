package feed

import "time"

// PollEvery changes how often the hub wakes everybody; set it before Run.
func (h *Hub) PollEvery(d time.Duration) { h.poll = d }
