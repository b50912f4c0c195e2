import java.io.StringReader;
import java.io.StringWriter;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

/** Types, server-prepared statements, batches, fetch sizes, COPY, large values and objects, many connections at once. */
final class StatementScenarios {
    private StatementScenarios() {}

    static void add(Map<String, Main.Scenario> scenarios) {
        scenarios.put("types", StatementScenarios::types);
        scenarios.put("prepared", StatementScenarios::prepared);
        scenarios.put("changed_result_type", StatementScenarios::changedResultType);
        scenarios.put("batches", StatementScenarios::batches);
        scenarios.put("fetch_sizes", StatementScenarios::fetchSizes);
        scenarios.put("copy", StatementScenarios::copy);
        scenarios.put("large_values", StatementScenarios::largeValues);
        scenarios.put("large_objects", StatementScenarios::largeObjects);
        scenarios.put("several_statements", StatementScenarios::severalStatements);
        scenarios.put("concurrent", StatementScenarios::concurrent);
    }

    private static Object types() throws SQLException {
        List<Object> values = List.of(true, 42, Long.MIN_VALUE, 1.5, new java.math.BigDecimal("12345678901234567890.5"),
                "é✓", java.util.UUID.fromString("00000000-0000-0000-0000-000000000001"),
                java.time.LocalDate.of(2024, 2, 29), java.time.LocalDateTime.of(2024, 2, 29, 12, 0, 0, 1000),
                java.time.OffsetDateTime.parse("2024-02-29T12:00:00Z"));
        List<Object> seen = new ArrayList<>();
        for (String threshold : List.of("0", "-1")) { // -1: prepared at once, answers in binary
            try (Connection connection = Main.open("prepareThreshold", threshold)) {
                for (Object each : values) {
                    seen.add(Main.rows(connection, "select ?, pg_typeof(?)::text", each, each));
                }
                Object array = connection.createArrayOf("int4", new Object[] {1, null, 3});
                seen.add(Main.rows(connection, "select ?::int[], null::text, '{\"a\": 1}'::jsonb", array));
            }
        }
        return seen;
    }

    private static Object prepared() throws SQLException {
        List<Object> seen = new ArrayList<>();
        for (String threshold : List.of("0", "1", "5", "-1")) {
            try (Connection one = Main.open("prepareThreshold", threshold);
                    Connection two = Main.open("prepareThreshold", threshold, "preparedStatementCacheQueries", "2")) {
                for (int number = 0; number < 20; number++) {
                    seen.add(Main.rows(one, "select ? + 1", number));
                    seen.add(Main.rows(two, "select ? * 2", number));
                    seen.add(Main.rows(two, "select ? + " + number % 4, number));
                }
                one.setAutoCommit(false);
                two.setAutoCommit(false);
                for (int number = 0; number < 10; number++) {
                    seen.add(Main.rows(one, "select ? + 1", number));
                    seen.add(Main.rows(two, "select ? * 2", number));
                    one.commit();
                    two.rollback();
                }
                Main.execute(one, "deallocate all");
                one.commit();
                seen.add(Main.rows(one, "select ? + 1", 1));
            }
        }
        return seen;
    }

    private static Object changedResultType() throws SQLException {
        List<Object> seen = new ArrayList<>();
        try (Connection one = Main.open("prepareThreshold", "1"); Connection two = Main.open()) {
            Main.execute(two, "create table changing (a int); insert into changing values (1)");
            for (int turn = 0; turn < 3; turn++) {
                seen.add(Main.rows(one, "select * from changing"));
            }
            Main.execute(two, "alter table changing add column b text default 'new'");
            one.setAutoCommit(false);
            seen.add(Main.failure(() -> Main.rows(one, "select * from changing")));
            one.rollback();
            seen.add(Main.rows(one, "select * from changing"));
        }
        return seen;
    }

    private static Object batches() throws SQLException {
        List<Object> seen = new ArrayList<>();
        for (String rewrites : List.of("false", "true")) {
            try (Connection connection = Main.open("reWriteBatchedInserts", rewrites)) {
                Main.execute(connection, "drop table if exists batched; create table batched (id int primary key)");
                seen.add(batch(connection, 0, 1000, 1));
                seen.add(batch(connection, 2000, 2050, 1));
                seen.add(batch(connection, 3000, 0, -500));
                connection.setAutoCommit(false);
                seen.add(batch(connection, 4000, 4400, 1));
                connection.commit();
                seen.add(Main.rows(connection, "select count(*) from batched"));
            }
        }
        return seen;
    }

    /** How many updates succeeded, or where a batch failed. */
    private static Object batch(Connection connection, int from, int end, int step) throws SQLException {
        String insert = "insert into batched values (?)";
        try (PreparedStatement statement = connection.prepareStatement(insert, Statement.RETURN_GENERATED_KEYS)) {
            for (int number = from; step > 0 ? number < end : number > end; number += step) {
                statement.setInt(1, number);
                statement.addBatch();
            }
            int counted = statement.executeBatch().length;
            return List.of(counted, Main.rows(statement.getGeneratedKeys()).size());
        } catch (BatchUpdateException error) {
            return List.of(error.getSQLState(), Arrays.toString(error.getUpdateCounts()), error.getMessage());
        }
    }

    private static Object fetchSizes() throws SQLException {
        List<Object> seen = new ArrayList<>();
        for (String threshold : List.of("0", "1")) {
            try (Connection connection = Main.open("prepareThreshold", threshold, "defaultRowFetchSize", "7")) {
                connection.setAutoCommit(false);
                String query = "select n from generate_series(1, ?) n";
                try (PreparedStatement one = connection.prepareStatement(query);
                        PreparedStatement two = connection.prepareStatement(query)) {
                    one.setFetchSize(50);
                    one.setInt(1, 1000);
                    two.setInt(1, 100);
                    ResultSet first = one.executeQuery();
                    ResultSet second = two.executeQuery();
                    long sum = 0;
                    while (first.next()) {
                        sum += first.getInt(1) * (second.next() ? 1000L : 1L);
                    }
                    seen.add(sum);
                }
                connection.commit();
                seen.add(Main.rows(connection, query, 20).size());
                connection.rollback();
            }
        }
        return seen;
    }

    private static Object copy() throws Exception {
        List<Object> seen = new ArrayList<>();
        try (Connection connection = Main.open()) {
            Main.execute(connection, "create table copied (id int, body text)");
            CopyManager manager = connection.unwrap(PGConnection.class).getCopyAPI();
            StringBuilder lines = new StringBuilder();
            for (int number = 0; number < 5000; number++) {
                lines.append(number).append("\trow ").append(number).append('\n');
            }
            seen.add(manager.copyIn("copy copied from stdin", new StringReader(lines.toString())));
            StringWriter out = new StringWriter();
            seen.add(manager.copyOut("copy copied to stdout (format csv)", out));
            seen.add(out.toString().length());
            seen.add(Main.failure(() -> manager.copyIn("copy copied from stdin", new StringReader("not a number\tx\n"))));
            manager.copyIn("copy copied from stdin").cancelCopy();
            seen.add(Main.rows(connection, "select count(*) from copied"));
        }
        return seen;
    }

    private static Object largeValues() throws SQLException {
        List<Object> seen = new ArrayList<>();
        try (Connection connection = Main.open(); PreparedStatement statement = connection.prepareStatement("select ?")) {
            for (int size : new int[] {1, 8191, 65536, 3_000_000}) {
                byte[] data = new byte[size];
                Arrays.fill(data, (byte) 7);
                for (int turn = 0; turn < 7; turn++) { // from the fifth on server-prepared, and binary
                    statement.setBytes(1, data);
                    ResultSet found = statement.executeQuery();
                    seen.add(found.next() && Arrays.equals(data, found.getBytes(1)));
                }
            }
            seen.add(Main.rows(connection, "select n, repeat('x', n % 300) from generate_series(1, 20000) n").size());
        }
        return seen;
    }

    /** By function calls of the fast-path protocol. */
    private static Object largeObjects() throws SQLException {
        try (Connection connection = Main.open()) {
            connection.setAutoCommit(false);
            var api = connection.unwrap(PGConnection.class).getLargeObjectAPI();
            long number = api.createLO();
            try (var opened = api.open(number)) {
                opened.write(new byte[100_000]);
                opened.seek(10);
                int read = opened.read(50).length;
                return List.of(read, opened.tell(), opened.size());
            } finally {
                api.delete(number);
                connection.commit();
            }
        }
    }

    private static Object severalStatements() throws SQLException {
        List<Object> seen = new ArrayList<>();
        try (Connection connection = Main.open(); Statement statement = connection.createStatement()) {
            boolean rows = statement.execute("select 1; create table half (a int); drop table half; select 'two', 2");
            while (rows || statement.getUpdateCount() >= 0) {
                seen.add(rows ? Main.rows(statement.getResultSet()) : statement.getUpdateCount());
                rows = statement.getMoreResults();
            }
            seen.add(Main.failure(() -> statement.execute("create table half (a int); select 1 / 0; select 2")));
            seen.add(Main.rows(connection, "select to_regclass('half') is null"));
        }
        return seen;
    }

    private static Object concurrent() throws Exception {
        ExecutorService workers = Executors.newFixedThreadPool(8);
        List<Future<Object>> working = new ArrayList<>();
        for (int number = 0; number < 8; number++) {
            int own = number;
            working.add(workers.submit(() -> work(own)));
        }
        List<Object> seen = new ArrayList<>();
        for (Future<Object> each : working) {
            seen.add(each.get());
        }
        workers.shutdown();
        return seen;
    }

    private static Object work(int number) throws SQLException {
        TreeSet<String> seen = new TreeSet<>();
        try (Connection connection = Main.open("prepareThreshold", "2")) {
            Main.execute(connection, "set app.worker = '" + number + "'; set work_mem = '" + (number + 10) + "MB'");
            connection.setAutoCommit(false);
            for (int turn = 0; turn < 40; turn++) {
                String query = "select ? - ?, current_setting('work_mem') || current_setting('app.worker')";
                seen.add(Main.rows(connection, query, turn, turn).toString());
                connection.commit();
            }
        }
        return seen;
    }
}
