package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

func prepared(ctx context.Context, dsn string) any {
	one, two := open(ctx, dsn), open(ctx, dsn)
	defer one.Close(ctx)
	defer two.Close(ctx)
	seen := []any{}
	for number := range 40 {
		seen = append(seen, rows(ctx, one, "select $1::int + 1", number), rows(ctx, two, "select $1::int * 2", number))
	}
	must(one.Prepare(ctx, "mine", "select $1::int + 1000"))
	must(two.Prepare(ctx, "mine", "select $1::int + 2000"))
	for number := range 10 {
		transaction := must(two.Begin(ctx))
		seen = append(seen, rows(ctx, one, "mine", number), rows(ctx, transaction, "mine", number))
		check(transaction.Rollback(ctx))
	}
	check(one.DeallocateAll(ctx))
	return append(seen, rows(ctx, one, "select $1::int + 1", 1))
}

func changedResultType(ctx context.Context, dsn string) any {
	one, two := open(ctx, dsn), open(ctx, dsn)
	defer one.Close(ctx)
	defer two.Close(ctx)
	execute(ctx, two, "create table changing (a int)")
	execute(ctx, two, "insert into changing values (1)")
	seen := []any{}
	for range 3 {
		seen = append(seen, rows(ctx, one, "select * from changing"))
	}
	execute(ctx, two, "alter table changing add column b text default 'new'")
	transaction := must(one.Begin(ctx))
	_, err := tryRows(ctx, transaction, "select * from changing")
	seen = append(seen, failure(err))
	check(transaction.Rollback(ctx))
	return append(seen, rows(ctx, one, "select * from changing"))
}

func execModes(ctx context.Context, dsn string) any {
	seen := []any{}
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		conn := open(ctx, dsn, func(config *pgx.ConnConfig) { config.DefaultQueryExecMode = mode })
		for number := range 20 {
			found := rows(ctx, conn, "select $1::int + 1, $2::text", number, strings.Repeat("x", number))
			seen = append(seen, mode.String(), found)
		}
		_, err := conn.Exec(ctx, "select 1 / $1::int", 0)
		seen = append(seen, failure(err), rows(ctx, conn, "select 'after'"))
		check(conn.Close(ctx))
	}
	return seen
}

func largeValues(ctx context.Context, dsn string) any {
	conn := open(ctx, dsn)
	defer conn.Close(ctx)
	seen := []any{}
	for _, size := range []int{1, 8191, 65536, 5_000_000} {
		data := bytes.Repeat([]byte{7}, size)
		var found []byte
		check(conn.QueryRow(ctx, "select $1::bytea", data).Scan(&found))
		seen = append(seen, bytes.Equal(data, found))
	}
	many := rows(ctx, conn, "select n, repeat('x', n % 300) from generate_series(1, 20000) n")
	return append(seen, len(many))
}

func copies(ctx context.Context, dsn string) any {
	conn := open(ctx, dsn)
	defer conn.Close(ctx)
	execute(ctx, conn, "create table copied (id int, body text)")
	source := pgx.CopyFromSlice(5000, func(number int) ([]any, error) { return []any{number, fmt.Sprint("row ", number)}, nil })
	seen := []any{must(conn.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"id", "body"}, source))}
	breaks := pgx.CopyFromFunc(func() ([]any, error) { return nil, errors.New("the source ends early") })
	_, err := conn.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"id", "body"}, breaks)
	seen = append(seen, err != nil)
	_, err = conn.PgConn().CopyFrom(ctx, strings.NewReader("not a number\ttext\n"), "copy copied from stdin")
	seen = append(seen, failure(err))
	var out bytes.Buffer
	tag := must(conn.PgConn().CopyTo(ctx, &out, "copy copied to stdout (format csv)"))
	seen = append(seen, tag.String(), out.Len())
	return append(seen, rows(ctx, conn, "select count(*) from copied"))
}

func cursors(ctx context.Context, dsn string) any {
	conn := open(ctx, dsn)
	defer conn.Close(ctx)
	transaction := must(conn.Begin(ctx))
	execute(ctx, transaction, "declare mine scroll cursor for select n from generate_series(1, 1000) n")
	seen := []any{rows(ctx, transaction, "fetch 3 from mine"), rows(ctx, transaction, "fetch last from mine")}
	seen = append(seen, rows(ctx, transaction, "fetch -2 from mine"), execute(ctx, transaction, "move first in mine"))
	check(transaction.Commit(ctx))
	_, err := conn.Exec(ctx, "fetch 1 from mine")
	return append(seen, failure(err))
}

func batches(ctx context.Context, dsn string) any {
	conn := open(ctx, dsn)
	defer conn.Close(ctx)
	execute(ctx, conn, "create table batched (id int primary key)")
	batch := &pgx.Batch{}
	for number := range 300 {
		batch.Queue("insert into batched values ($1)", number)
	}
	batch.Queue("select count(*) from batched")
	results := conn.SendBatch(ctx, batch)
	for range 300 {
		must(results.Exec())
	}
	var count int
	check(results.QueryRow().Scan(&count))
	check(results.Close())
	failing := &pgx.Batch{}
	for _, number := range []int{1000, 1, 1001} {
		failing.Queue("insert into batched values ($1)", number)
	}
	seen := []any{count, failure(conn.SendBatch(ctx, failing).Close())}
	return append(seen, rows(ctx, conn, "select count(*) from batched"))
}

// pipelines sends several Syncs, one of whose parts fails, before it reads the first answer.
func pipelines(ctx context.Context, dsn string) any {
	conn := open(ctx, dsn)
	defer conn.Close(ctx)
	pipeline := conn.PgConn().StartPipeline(ctx)
	for number := range 10 {
		// Divides when it runs: a constant would be folded, in Bind or in Execute as the plan is custom or generic.
		divide := "select 12 / n from (select $1::int as n offset 0) as divisor"
		pipeline.SendPrepare(fmt.Sprint("piped ", number), divide, nil)
		pipeline.SendQueryPrepared(fmt.Sprint("piped ", number), [][]byte{fmt.Append(nil, number%4)}, nil, nil)
		pipeline.SendQueryParams("select 'behind it'", nil, nil, nil, nil)
		check(pipeline.Sync())
	}
	seen := []any{}
	for range 10 {
		for synced := false; !synced; {
			found, err := pipeline.GetResults()
			if err != nil {
				seen = append(seen, failure(err))
				continue
			}
			switch result := found.(type) {
			case *pgconn.ResultReader:
				read := result.Read()
				seen = append(seen, failure(read.Err), read.CommandTag.String(), fmt.Sprintf("%s", read.Rows))
			case *pgconn.PipelineSync:
				synced = true
			}
		}
	}
	check(pipeline.Close())
	return append(seen, rows(ctx, conn, "select 'usable'"))
}

// inParallel collects what eight workers saw, in their order.
func inParallel(work func(number int) any) any {
	seen := make([]any, 8)
	var group sync.WaitGroup
	for number := range seen {
		group.Go(func() {
			defer func() {
				if reason := recover(); reason != nil {
					seen[number] = fmt.Sprint(reason)
				}
			}()
			seen[number] = work(number)
		})
	}
	group.Wait()
	return seen
}

func pooled(ctx context.Context, dsn string) any {
	config := must(pgxpool.ParseConfig(dsn))
	config.MaxConns = 4
	pool := must(pgxpool.NewWithConfig(ctx, config))
	defer pool.Close()
	return inParallel(func(number int) any {
		seen := map[string]int{}
		for turn := range 30 {
			check(pgx.BeginFunc(ctx, pool, func(transaction pgx.Tx) error {
				execute(ctx, transaction, fmt.Sprintf("set local app.worker = '%d'", number))
				query := "select $1::int - $1::int, current_setting('app.worker')"
				seen[fmt.Sprint(rows(ctx, transaction, query, turn))]++
				return nil
			}))
		}
		return seen
	})
}

func concurrent(ctx context.Context, dsn string) any {
	return inParallel(func(number int) any {
		conn := open(ctx, dsn)
		defer conn.Close(ctx)
		execute(ctx, conn, fmt.Sprintf("set app.worker = '%d'", number))
		execute(ctx, conn, fmt.Sprintf("set work_mem = '%dMB'", number+10))
		seen := map[string]int{}
		for turn := range 40 {
			query := fmt.Sprintf("select $1::int - $1::int + %d, current_setting('work_mem') || current_setting('app.worker')", turn%3)
			seen[fmt.Sprint(rows(ctx, conn, query, turn))]++
		}
		return seen
	})
}
