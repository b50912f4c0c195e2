package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

func connect(ctx context.Context, dsn string) any {
	conn := open(ctx, dsn, func(config *pgx.ConnConfig) {
		config.RuntimeParams["application_name"] = "the shop"
		config.RuntimeParams["work_mem"] = "21MB"
		config.RuntimeParams["options"] = "-c search_path=nowhere,public -c statement_timeout=31s"
	})
	defer conn.Close(ctx)
	names := []string{"application_name", "work_mem", "search_path", "statement_timeout", "client_encoding"}
	seen := []any{shown(ctx, conn, names...)}
	for _, name := range []string{"server_version", "TimeZone", "DateStyle", "application_name", "is_superuser"} {
		seen = append(seen, conn.PgConn().ParameterStatus(name))
	}
	return append(seen, conn.Ping(ctx) == nil)
}

func refused(ctx context.Context, dsn string) any {
	seen := []any{}
	for _, wrong := range []func(*pgx.ConnConfig){
		func(config *pgx.ConnConfig) { config.Password = "wrong" },
		func(config *pgx.ConnConfig) { config.User = "nobody_here" },
		func(config *pgx.ConnConfig) { config.Database = "no_such_database" },
	} {
		config := must(pgx.ParseConfig(dsn))
		wrong(config)
		_, err := pgx.ConnectConfig(ctx, config)
		seen = append(seen, failure(err))
	}
	return seen
}

func types(ctx context.Context, dsn string) any {
	conn := open(ctx, dsn)
	defer conn.Close(ctx)
	day := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	seen := []any{}
	for _, each := range []struct {
		name  string
		value any
	}{
		{"bool", true}, {"int8", math.MinInt64}, {"float8", 1.5}, {"text", "é✓"}, {"bytea", []byte{0, 255}},
		{"numeric", pgtype.Numeric{Int: nil, NaN: true, Valid: true}}, {"date", day}, {"timestamptz", day},
		{"interval", 3 * time.Hour}, {"jsonb", map[string]any{"a": []any{1, nil}}}, {"int4[]", []int{1, 2, 3}},
		{"text[]", []string{"a", `b"c`}}, {"inet", netip.MustParsePrefix("10.0.0.1/24")}, {"text", nil},
		{"int4range", pgtype.Range[int]{Lower: 1, Upper: 5, LowerType: 'i', UpperType: 'e', Valid: true}},
	} {
		seen = append(seen, fmt.Sprintf("%v", rows(ctx, conn, "select $1::"+each.name, each.value)))
	}
	return seen
}

func settings(ctx context.Context, dsn string) any {
	conn := open(ctx, dsn)
	defer conn.Close(ctx)
	names := []string{"work_mem", "search_path", "TimeZone", "DateStyle", "app.me"}
	seen := []any{shown(ctx, conn, names...)}
	for _, query := range []string{
		"set work_mem = '17MB'", "set search_path to pg_temp, public", "set app.me = 'here'",
		"set time zone 'Asia/Tokyo'", "set local work_mem = '18MB'", "select set_config('work_mem', '19MB', false)",
		"set datestyle to german", "reset work_mem", "reset all",
	} {
		for _, commits := range []bool{false, true} {
			transaction := must(conn.Begin(ctx))
			execute(ctx, transaction, query)
			seen = append(seen, shown(ctx, transaction, names...))
			if commits {
				check(transaction.Commit(ctx))
			} else {
				check(transaction.Rollback(ctx))
			}
			seen = append(seen, shown(ctx, conn, names...), conn.PgConn().ParameterStatus("TimeZone"))
		}
		seen = append(seen, rows(ctx, conn, "select '2024-07-01 12:00+00'::timestamptz::text"))
	}
	return seen
}

func errorsInTransactions(ctx context.Context, dsn string) any {
	conn := open(ctx, dsn)
	defer conn.Close(ctx)
	execute(ctx, conn, "create table unique_rows (id int primary key)")
	seen := []any{}
	broken := []string{"select 1 / 0", "selec 1", "select * from missing", "insert into unique_rows values (1), (1)"}
	for _, query := range broken {
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeSimpleProtocol} {
			err := pgx.BeginFunc(ctx, conn, func(transaction pgx.Tx) error {
				execute(ctx, transaction, "insert into unique_rows values (7)")
				_, err := transaction.Exec(ctx, query, mode)
				seen = append(seen, failure(err))
				_, err = transaction.Exec(ctx, "select 1", mode)
				return err
			})
			seen = append(seen, failure(err))
		}
	}
	transaction := must(conn.Begin(ctx))
	_, _ = transaction.Exec(ctx, "select 1 / 0")
	seen = append(seen, errors.Is(transaction.Commit(ctx), pgx.ErrTxCommitRollback))
	return append(seen, rows(ctx, conn, "select count(*) from unique_rows"))
}

func savepoints(ctx context.Context, dsn string) any {
	conn := open(ctx, dsn)
	defer conn.Close(ctx)
	execute(ctx, conn, "create table kept (id int)")
	transaction := must(conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.Serializable}))
	for number := range 4 {
		nested := must(transaction.Begin(ctx))
		execute(ctx, nested, "insert into kept values ($1)", number)
		if number%2 == 0 {
			check(nested.Commit(ctx))
		} else {
			check(nested.Rollback(ctx))
		}
	}
	check(transaction.Commit(ctx))
	return rows(ctx, conn, "select id from kept")
}

func cancel(ctx context.Context, dsn string) any {
	seen := []any{}
	conn := open(ctx, dsn)
	defer conn.Close(ctx)
	for range 3 {
		timer := time.AfterFunc(150*time.Millisecond, func() { _ = conn.PgConn().CancelRequest(ctx) })
		_, err := conn.Exec(ctx, "select pg_sleep(15)")
		timer.Stop()
		seen = append(seen, failure(err), rows(ctx, conn, "select 'usable'"))
	}
	execute(ctx, conn, "set statement_timeout = '80ms'")
	_, err := conn.Exec(ctx, "select pg_sleep(15)")
	seen = append(seen, failure(err))
	execute(ctx, conn, "reset statement_timeout")
	// A context that ends closes the connection; the next one must not notice.
	short, stop := context.WithTimeout(ctx, 150*time.Millisecond)
	defer stop()
	_, err = conn.Exec(short, "select pg_sleep(15)")
	seen = append(seen, errors.Is(err, context.DeadlineExceeded), conn.IsClosed())
	next := open(ctx, dsn)
	defer next.Close(ctx)
	return append(seen, rows(ctx, next, "select 'usable'"))
}

func notifications(ctx context.Context, dsn string) any {
	listener, sender := open(ctx, dsn), open(ctx, dsn)
	defer listener.Close(ctx)
	defer sender.Close(ctx)
	execute(ctx, listener, "listen news")
	check(pgx.BeginFunc(ctx, sender, func(transaction pgx.Tx) error {
		execute(ctx, transaction, "notify news, 'first'")
		execute(ctx, transaction, "select pg_notify('news', $1)", "second")
		return nil
	}))
	seen := []any{}
	for range 2 {
		heard := must(listener.WaitForNotification(ctx))
		seen = append(seen, []string{heard.Channel, heard.Payload})
	}
	execute(ctx, listener, "select pg_notify('news', $1)", "own")
	heard := must(listener.WaitForNotification(ctx))
	return append(seen, []string{heard.Channel, heard.Payload})
}

func notices(ctx context.Context, dsn string) any {
	seen := []any{}
	conn := open(ctx, dsn, func(config *pgx.ConnConfig) {
		config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
			seen = append(seen, []string{notice.Severity, notice.Code, notice.Message})
		}
	})
	defer conn.Close(ctx)
	execute(ctx, conn, "do $$ begin raise notice 'hear'; raise warning 'and this'; end $$")
	return seen
}

func severalStatements(ctx context.Context, dsn string) any {
	conn := open(ctx, dsn)
	defer conn.Close(ctx)
	seen := []any{}
	run := func(text string) {
		results, err := conn.PgConn().Exec(ctx, text).ReadAll()
		for _, result := range results {
			values := []string{}
			for _, row := range result.Rows {
				for _, value := range row {
					values = append(values, string(value))
				}
			}
			seen = append(seen, []string{result.CommandTag.String(), strings.Join(values, ",")})
		}
		seen = append(seen, failure(err))
	}
	run("select 1; select 'two', 2; create table half (a int); select 3")
	run("drop table half; select 1 / 0; select 2")
	run("select to_regclass('half') is null")
	run("")
	return seen
}
