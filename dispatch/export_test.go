package dispatch

// Knows says whether this server leads and has read the heads of all queues.
func (d *Dispatcher) Knows() bool {
	s := d.seat.Load()
	return s != nil && s.knows.Load()
}
