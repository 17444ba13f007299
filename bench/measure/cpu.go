// Package measure takes the figures of the benchmarks: processor time of whole
// process trees, which other work on the machine does not change much, and
// spreads over rounds.
package measure

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of /proc/PID/stat's times on Linux.
const tick = 10 * time.Millisecond

// Meter measures from its start on.
type Meter struct {
	roots []int
	since time.Time
	cpu   time.Duration
}

// Start begins to measure this process and the trees of the given ones.
func Start(roots ...int) *Meter {
	return &Meter{roots: roots, since: time.Now(), cpu: total(roots)}
}

// Stop returns how long it took and how much processor time was used, by this
// process and the trees together.
func (m *Meter) Stop() (wall, cpu time.Duration) { return time.Since(m.since), total(m.roots) - m.cpu }

func total(roots []int) time.Duration {
	var own syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &own)
	return time.Duration(own.Utime.Nano()+own.Stime.Nano()) + Of(roots...)
}

// Of returns the processor time that the trees have used so far.
func Of(roots ...int) (sum time.Duration) {
	for _, p := range Tree(roots...) {
		sum += p.cpu
	}
	return sum
}

// Process is one member of a tree.
type Process struct {
	Pid, parent int
	cpu         time.Duration // its ended children's included
}

// Tree returns the processes at and below the given ones.
func Tree(roots ...int) []Process {
	all := map[int]Process{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		if p, ok := read(file); ok {
			all[p.Pid] = p
		}
	}
	var found []Process
	for _, p := range all {
		for at, depth := p.Pid, 0; at > 1 && depth < 64; at, depth = all[at].parent, depth+1 {
			if contains(roots, at) {
				found = append(found, p)
				break
			}
		}
	}
	return found
}

func contains(list []int, n int) bool {
	for _, m := range list {
		if m == n {
			return true
		}
	}
	return false
}

func read(file string) (p Process, ok bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return p, false // it has just ended
	}
	name := strings.LastIndexByte(string(text), ')')
	fields := strings.Fields(string(text[name+1:]))
	p.Pid, _ = strconv.Atoi(filepath.Base(filepath.Dir(file)))
	p.parent, _ = strconv.Atoi(fields[1])
	for _, f := range fields[11:15] { // utime, stime, cutime, cstime
		n, _ := strconv.Atoi(f)
		p.cpu += time.Duration(n) * tick
	}
	return p, true
}

// PSS is the memory of a tree in bytes, shared pages divided among those who
// share them.
func PSS(roots ...int) (bytes int64) {
	for _, p := range Tree(roots...) {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(p.Pid) + "/smaps_rollup")
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
				kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
				bytes += kb << 10
			}
		}
	}
	return bytes
}
