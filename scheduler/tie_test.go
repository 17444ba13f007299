package scheduler_test

import "testing"

// Among those who are equal the order is the same each time round: sums of thirds
// do not decide it. Else somebody would be passed over once more than may be.
func TestThoseWhoAreEqualKeepTheirOrder(t *testing.T) {
	t.Parallel()
	var tenants []tenant
	bound := 1
	for weight := 1; weight <= 4; weight++ {
		for range 5 {
			tenants = append(tenants, tenant{class: "pro", classWeight: 6, weight: weight, takes: takes(1)})
			bound += weight // that is what it may take between two turns of one of weight 1
		}
	}
	bound-- // who waits is one of them
	p := newPlant(tenants...)
	p.dispatch(4000, 1)
	last := map[int]int{}
	for n, i := range p.order {
		if before, ok := last[i]; ok && n > 1000 && tenants[i].weight == 1 && n-before-1 > bound {
			t.Errorf("turn %d: a tenant of weight 1 waited for %d turns of others, at most %d", n, n-before-1, bound)
		}
		last[i] = n
	}
}
