package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/genericcorp/corp/bench/measure"
	"github.com/genericcorp/corp/postgres/embedded"
)

// database is a PostgreSQL of the same version and settings for whoever needs one.
type database struct {
	server *embedded.Server
	pool   *pgxpool.Pool
}

func (d *database) start(ctx context.Context, dir string) (err error) {
	if d.server, err = embedded.Start(ctx, embedded.Config{Dir: filepath.Join(dir, "pg"), Durable: true}); err != nil {
		return err
	}
	config, err := pgxpool.ParseConfig(d.server.SuperURL(embedded.Database))
	if err != nil {
		return err
	}
	config.MaxConns = 20
	d.pool, err = pgxpool.NewWithConfig(ctx, config)
	return err
}

func (d *database) pids() []int { return []int{d.server.Pid()} }

func (d *database) stop() {
	if d.pool != nil {
		d.pool.Close()
	}
	if d.server != nil {
		_ = d.server.Stop(context.Background())
	}
}

// raw is a table and SKIP LOCKED: the least that a queue in PostgreSQL can do.
type raw struct {
	database
	batch int
}

func (r *raw) name() string { return fmt.Sprintf("PostgreSQL, batch %d", r.batch) }

func (r *raw) start(ctx context.Context, dir string) error {
	if err := r.database.start(ctx, dir); err != nil {
		return err
	}
	_, err := r.pool.Exec(ctx, `
		CREATE TABLE job (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state int NOT NULL DEFAULT 0, body text);
		CREATE INDEX ON job (id) WHERE state = 0`)
	return err
}

func (r *raw) drain(ctx context.Context, n int) (submit, work time.Duration, err error) {
	begun := time.Now()
	per := r.batch
	err = parallel(4, n/per, func() error {
		_, err := r.pool.Exec(ctx, `INSERT INTO job (body) SELECT 'x' FROM generate_series(1, $1)`, per)
		return err
	})
	submit = time.Since(begun)
	begun = time.Now()
	if err == nil {
		err = parallel(4, n/per, func() error { _, err := r.take(ctx); return err })
	}
	return submit, time.Since(begun), err
}

// take claims a batch in one transaction and completes it in another, as a
// worker that may die in between must.
func (r *raw) take(ctx context.Context) (n int64, err error) {
	rows, err := r.pool.Query(ctx, `
		UPDATE job SET state = 1 WHERE id IN (SELECT id FROM job WHERE state = 0 ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING id`, r.batch)
	if err != nil {
		return 0, err
	}
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return 0, err
		}
		ids = append(ids, id)
	}
	if rows.Err() != nil || len(ids) == 0 {
		return 0, rows.Err()
	}
	tag, err := r.pool.Exec(ctx, `DELETE FROM job WHERE id = ANY($1)`, ids)
	return tag.RowsAffected(), err
}

func (r *raw) trickle(ctx context.Context, n int) ([]time.Duration, error) {
	conn, err := r.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, `LISTEN job`); err != nil {
		return nil, err
	}
	s := newStopwatch(n)
	worked := make(chan error, 1)
	go func() {
		for done := int64(0); done < int64(n); {
			if _, err := conn.Conn().WaitForNotification(ctx); err != nil {
				worked <- err
				return
			}
			for {
				got, err := r.take(ctx)
				if err != nil || got == 0 {
					break
				}
				for range got {
					s.started(int(done))
					done++
				}
			}
		}
		worked <- nil
	}()
	err = s.submit(ctx, func(int) error {
		_, err := r.pool.Exec(ctx, `WITH new AS (INSERT INTO job (body) VALUES ('x')) SELECT pg_notify('job', '')`)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.waits(), <-worked
}

// commit measures the unit of latency: one row, one commit, nobody else.
func commit(ctx context.Context, dir string) (measure.Spread, error) {
	var d database
	if err := d.start(ctx, dir); err != nil {
		return nil, err
	}
	defer d.stop()
	if _, err := d.pool.Exec(ctx, `CREATE TABLE one (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text)`); err != nil {
		return nil, err
	}
	var spread measure.Spread
	for range 3 {
		var all []time.Duration
		for range 300 {
			begun := time.Now()
			if _, err := d.pool.Exec(ctx, `INSERT INTO one (body) VALUES ('x')`); err != nil {
				return nil, err
			}
			all = append(all, time.Since(begun))
		}
		spread = append(spread, measure.Percentile(all, 0.5))
	}
	return spread, nil
}

// parallel calls do n times from so many goroutines, until the first error.
func parallel(goroutines, n int, do func() error) error {
	left := make(chan struct{}, n)
	for range n {
		left <- struct{}{}
	}
	close(left)
	failed := make(chan error, goroutines)
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for range left {
				if err := do(); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}
