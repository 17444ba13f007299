//go:build engine || soak

package engine

import (
	crand "crypto/rand"
	"fmt"
	"math/rand/v2"

	"github.com/genericcorp/corp"
)

// rand16 is a key that nobody else uses.
func rand16() string { return crand.Text() }

func following(spec corp.TaskSpec, refs ...string) corp.TaskSpec {
	for _, ref := range refs {
		spec.After = append(spec.After, corp.Dependency{Ref: ref})
	}
	return spec
}

// randomGraph is a batch in which tasks follow up to three earlier ones; some
// fail, and some do not mind.
func randomGraph(random *rand.Rand, size int) (spec corp.BatchSpec) {
	for i := range size {
		task := corp.BatchTask{Ref: fmt.Sprint("t", i), TaskSpec: work("ms=%d", random.IntN(30))}
		if random.IntN(8) == 0 {
			task.TaskSpec = work("ms=%d&end=failed&reason=check_failed", random.IntN(30))
		}
		for _, up := range random.Perm(i)[:min(i, random.IntN(4))] {
			after := corp.Dependency{Ref: fmt.Sprint("t", up)}
			if random.IntN(3) == 0 {
				after.OnFailure = corp.OnFailureContinue
			}
			task.After = append(task.After, after)
		}
		spec.Tasks = append(spec.Tasks, task)
	}
	return spec
}

// graphEnds is how the tasks of such a batch end.
func graphEnds(spec corp.BatchSpec) []corp.TaskState {
	ends := make([]corp.TaskState, len(spec.Tasks))
	at := map[string]int{}
	for i, task := range spec.Tasks {
		at[task.Ref] = i
		ends[i] = corp.TaskSucceeded
		if len(task.Prompt) > 12 {
			ends[i] = corp.TaskFailed
		}
		for _, up := range task.After {
			if ends[at[up.Ref]] != corp.TaskSucceeded && up.OnFailure != corp.OnFailureContinue {
				ends[i] = corp.TaskCancelled
			}
		}
	}
	return ends
}
