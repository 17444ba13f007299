package limit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/limit"
	"github.com/genericcorp/corp/limit/redistest"
)

// fourDimensions are what a request of a person asks, of one of many workspaces.
func fourDimensions() [][]limit.Ask {
	p := limit.Policy{Name: "requests", Quota: 3_000_000_000, Window: time.Hour, Burst: 1_000_000_000}
	all := make([][]limit.Ask, 1000)
	for i := range all {
		ws := corp.NewID[corp.WorkspaceID]()
		for _, d := range []string{"workspace", "user", "credential", "class"} {
			all[i] = append(all[i], limit.Ask{Key: limit.WorkspaceKey(ws, d, fmt.Sprint(i)), Policy: p, Cost: 1})
		}
	}
	return all
}

func BenchmarkMemoryFourDimensions(b *testing.B) {
	s, asks := limit.NewMemory(nil, 100_000), fourDimensions()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := s.Take(b.Context(), asks[i%len(asks)]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMemoryFourDimensionsParallel(b *testing.B) {
	s, asks := limit.NewMemory(nil, 100_000), fourDimensions()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := s.Take(b.Context(), asks[i%len(asks)]); err != nil {
				b.Error(err)
			}
		}
	})
}

// A flood of keys that nobody has seen, over a full table.
func BenchmarkMemoryInventedKeys(b *testing.B) {
	s := limit.NewMemory(nil, 100_000)
	p := limit.Policy{Name: "address", Quota: 360_000, Window: time.Hour, Burst: 2000}
	for i := 0; b.Loop(); i++ {
		if _, err := s.Take(b.Context(), []limit.Ask{{Key: fmt.Sprint(i), Policy: p, Cost: 1}}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRedisFourDimensions(b *testing.B) {
	s, asks := newRedis(b, redistest.Start(b).URL(), limit.WithTimeout(10*time.Second)), fourDimensions()
	for i := 0; b.Loop(); i++ {
		if _, err := s.Take(b.Context(), asks[i%len(asks)]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRedisFourDimensionsParallel(b *testing.B) {
	s, asks := newRedis(b, redistest.Start(b).URL(), limit.WithTimeout(10*time.Second)), fourDimensions()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := s.Take(b.Context(), asks[i%len(asks)]); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkDownRedisFourDimensions(b *testing.B) {
	server := redistest.Start(b)
	f, asks := limit.WithFallback(newRedis(b, server.URL()), limit.NewMemory(nil, 100_000), discard), fourDimensions()
	server.Stop()
	for i := 0; b.Loop(); i++ {
		if _, err := f.Take(b.Context(), asks[i%len(asks)]); err != nil {
			b.Fatal(err)
		}
	}
}
