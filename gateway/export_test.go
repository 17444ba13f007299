package gateway

import "github.com/genericcorp/corp"

// UnderWay is how many calls of the run have entered and not left.
func (g *Gateway) UnderWay(run corp.RunID) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.calls[run]
}
