package scheduler

// Workspaces returns how many workspaces are remembered.
func (s *Scheduler) Workspaces() int { return len(s.workspaces) }
