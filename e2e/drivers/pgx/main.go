// What pgx sees: `pgx DSN`. Statement cache, its other execution modes, batches, pipelines, CopyFrom, its pool.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const deadline = 20 * time.Second // for one scenario

// A scenario opens connections of its own and returns what it saw; failed checks panic.
type scenario struct {
	name string
	run  func(ctx context.Context, dsn string) any
}

var scenarios = []scenario{
	{"connect", connect}, {"refused", refused}, {"types", types}, {"prepared", prepared},
	{"changed_result_type", changedResultType}, {"exec_modes", execModes},
	{"errors_in_transactions", errorsInTransactions}, {"savepoints", savepoints}, {"settings", settings},
	{"large_values", largeValues}, {"copies", copies}, {"cancel", cancel}, {"notifications", notifications},
	{"cursors", cursors}, {"batches", batches}, {"pipelines", pipelines}, {"several_statements", severalStatements},
	{"notices", notices}, {"pooled", pooled}, {"concurrent", concurrent},
}

func main() {
	wanted := map[string]bool{}
	for _, name := range os.Args[2:] {
		wanted[name] = true
	}
	for _, each := range scenarios {
		if len(wanted) == 0 || wanted[each.name] {
			line := outcome(each)
			line["scenario"] = each.name
			text, err := json.Marshal(line)
			check(err)
			fmt.Println(string(text))
		}
	}
}

func outcome(each scenario) (line map[string]any) {
	ctx, stop := context.WithTimeout(context.Background(), deadline)
	defer stop()
	defer func() {
		if reason := recover(); reason != nil {
			line = map[string]any{"failed": fmt.Sprint(reason)}
		}
	}()
	return map[string]any{"saw": each.run(ctx, os.Args[1])}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func must[T any](found T, err error) T {
	check(err)
	return found
}

// open connects with changes to what the DSN says.
func open(ctx context.Context, dsn string, changes ...func(*pgx.ConnConfig)) *pgx.Conn {
	config := must(pgx.ParseConfig(dsn))
	for _, change := range changes {
		change(config)
	}
	return must(pgx.ConnectConfig(ctx, config))
}

type querier interface {
	Query(ctx context.Context, query string, arguments ...any) (pgx.Rows, error)
	Exec(ctx context.Context, query string, arguments ...any) (pgconn.CommandTag, error)
}

// rows are all rows of a query; err is why there are none.
func tryRows(ctx context.Context, on querier, query string, arguments ...any) ([]any, error) {
	result, err := on.Query(ctx, query, arguments...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(result, func(row pgx.CollectableRow) (any, error) { return row.Values() })
}

func rows(ctx context.Context, on querier, query string, arguments ...any) []any {
	return must(tryRows(ctx, on, query, arguments...))
}

func execute(ctx context.Context, on querier, query string, arguments ...any) string {
	return must(on.Exec(ctx, query, arguments...)).String()
}

func shown(ctx context.Context, on querier, names ...string) any {
	return rows(ctx, on, "select name, current_setting(name, true) from unnest($1::text[]) name", names)
}

// failure is what a program looks at in an error.
func failure(err error) any {
	var fromServer *pgconn.PgError
	switch {
	case err == nil:
		return "no error"
	case errors.As(err, &fromServer):
		return []string{fromServer.Severity, fromServer.Code, fromServer.Message, fromServer.ConstraintName}
	default:
		return fmt.Sprintf("%T", err)
	}
}
