import java.sql.Connection;
import java.sql.SQLException;
import java.sql.SQLWarning;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

/** Logging in, transactions, settings, errors, cancelling, notifications. */
final class SessionScenarios {
    private SessionScenarios() {}

    static void add(Map<String, Main.Scenario> scenarios) {
        scenarios.put("connect", SessionScenarios::connect);
        scenarios.put("refused", SessionScenarios::refused);
        scenarios.put("errors_in_transactions", SessionScenarios::errorsInTransactions);
        scenarios.put("autosave", SessionScenarios::autosave);
        scenarios.put("savepoints", SessionScenarios::savepoints);
        scenarios.put("settings", SessionScenarios::settings);
        scenarios.put("isolation", SessionScenarios::isolation);
        scenarios.put("cancel", SessionScenarios::cancel);
        scenarios.put("notifications", SessionScenarios::notifications);
        scenarios.put("warnings", SessionScenarios::warnings);
        scenarios.put("metadata", SessionScenarios::metadata);
    }

    private static Object connect() throws SQLException {
        List<Object> seen = new ArrayList<>();
        for (String mode : List.of("simple", "extended", "extendedForPrepared", "extendedCacheEverything")) {
            try (Connection connection = Main.open(
                    "ApplicationName", "the shop", "currentSchema", "nowhere,public", "preferQueryMode", mode,
                    "options", "-c work_mem=21MB -c statement_timeout=31s", "assumeMinServerVersion", "9.0")) {
                seen.add(Main.shown(connection, "application_name", "search_path", "work_mem", "TimeZone",
                        "client_encoding", "DateStyle", "extra_float_digits"));
                seen.add(Main.rows(connection, "select ?::text || 'ü'", "é"));
                connection.setClientInfo("ApplicationName", "renamed");
                seen.add(List.of(connection.getClientInfo("ApplicationName"), connection.isValid(5)));
                seen.add(Main.shown(connection, "application_name"));
                connection.setSchema("public");
                seen.add(connection.getSchema());
            }
        }
        return seen;
    }

    private static Object refused() {
        List<Object> seen = new ArrayList<>();
        seen.add(Main.failure(() -> Main.open("password", "wrong").close()));
        seen.add(Main.failure(() -> Main.open("user", "nobody_here").close()));
        seen.add(Main.failure(() -> Main.open("database", "no_such_database").close()));
        return seen;
    }

    private static Object errorsInTransactions() throws SQLException {
        List<Object> seen = new ArrayList<>();
        List<String> broken = List.of(
                "select 1 / 0", "selec 1", "select * from missing", "insert into unique_rows values (1), (1)");
        try (Connection connection = Main.open("prepareThreshold", "1")) {
            Main.execute(connection, "create table unique_rows (id int primary key)");
            connection.setAutoCommit(false);
            for (String query : broken) {
                for (int turn = 0; turn < 2; turn++) {
                    Main.rows(connection, "insert into unique_rows values (?)", 7);
                    seen.add(Main.failure(() -> Main.rows(connection, query)));
                    seen.add(Main.failure(() -> Main.rows(connection, "select 1")));
                    seen.add(Main.failure(turn == 0 ? connection::commit : connection::rollback));
                    connection.rollback();
                }
            }
            seen.add(Main.rows(connection, "select count(*) from unique_rows"));
        }
        return seen;
    }

    private static Object autosave() throws SQLException {
        List<Object> seen = new ArrayList<>();
        for (String mode : List.of("always", "conservative", "never")) {
            try (Connection connection = Main.open("autosave", mode, "prepareThreshold", "1")) {
                Main.execute(connection, "drop table if exists saved; create table saved (a int)");
                connection.setAutoCommit(false);
                for (int number = 0; number < 4; number++) {
                    int divisor = number % 2;
                    seen.add(Main.failure(() -> Main.rows(connection, "insert into saved values (1 / ?)", divisor)));
                }
                Main.execute(connection, "rollback");
                Main.rows(connection, "select * from saved");
                connection.commit();
                try (Connection other = Main.open()) {
                    Main.execute(other, "alter table saved add column b text");
                }
                for (int turn = 0; turn < 2; turn++) {
                    seen.add(Main.failure(() -> Main.rows(connection, "select * from saved")));
                }
                connection.rollback();
            }
        }
        return seen;
    }

    private static Object savepoints() throws SQLException {
        try (Connection connection = Main.open()) {
            Main.execute(connection, "create table kept (id int)");
            connection.setAutoCommit(false);
            for (int number = 0; number < 4; number++) {
                Savepoint here = connection.setSavepoint(number < 2 ? "named" : "\"Quoted here\"");
                Main.rows(connection, "insert into kept values (?)", number);
                if (number % 2 == 0) {
                    connection.releaseSavepoint(here);
                } else {
                    connection.rollback(here);
                }
            }
            connection.commit();
            return Main.rows(connection, "select id from kept");
        }
    }

    private static Object settings() throws SQLException {
        String[] names = {"work_mem", "search_path", "TimeZone", "app.me"};
        List<Object> seen = new ArrayList<>();
        try (Connection connection = Main.open()) {
            connection.setAutoCommit(false);
            seen.add(Main.shown(connection, names));
            for (String query : List.of(
                    "set work_mem = '17MB'; set search_path to pg_temp, public; set app.me = 'here'",
                    "set time zone 'Asia/Tokyo'", "set local work_mem = '18MB'",
                    "select set_config('work_mem', '19MB', false)", "reset work_mem", "reset all")) {
                for (boolean commits : new boolean[] {false, true}) {
                    Main.execute(connection, query);
                    seen.add(Main.shown(connection, names));
                    if (commits) {
                        connection.commit();
                    } else {
                        connection.rollback();
                    }
                    seen.add(Main.shown(connection, names));
                    connection.commit();
                }
                seen.add(Main.rows(connection, "select '2024-07-01 12:00+00'::timestamptz::text"));
                seen.add(connection.unwrap(PGConnection.class).getParameterStatus("TimeZone"));
            }
        }
        return seen;
    }

    private static Object isolation() throws SQLException {
        List<Object> seen = new ArrayList<>();
        try (Connection connection = Main.open()) {
            connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            seen.add(connection.getTransactionIsolation());
            connection.setReadOnly(true);
            connection.setAutoCommit(false);
            for (int turn = 0; turn < 2; turn++) {
                seen.add(Main.shown(connection, "transaction_isolation", "transaction_read_only"));
                seen.add(Main.failure(() -> Main.execute(connection, "create table forbidden (a int)")));
                connection.rollback();
            }
            connection.setReadOnly(false);
            connection.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
            seen.add(Main.shown(connection, "transaction_isolation", "transaction_read_only"));
        }
        return seen;
    }

    private static Object cancel() throws Exception {
        List<Object> seen = new ArrayList<>();
        ScheduledExecutorService later = Executors.newSingleThreadScheduledExecutor();
        try (Connection connection = Main.open(); Statement statement = connection.createStatement()) {
            for (int turn = 0; turn < 3; turn++) {
                later.schedule(() -> Main.failure(statement::cancel), 150, TimeUnit.MILLISECONDS);
                seen.add(Main.failure(() -> statement.execute("select pg_sleep(15)")));
                seen.add(Main.rows(connection, "select 'usable'"));
            }
            statement.setQueryTimeout(1);
            seen.add(Main.failure(() -> statement.execute("select pg_sleep(15)")));
            Main.execute(connection, "set statement_timeout = '80ms'");
            seen.add(Main.failure(() -> Main.execute(connection, "select pg_sleep(15)")));
        } finally {
            later.shutdown();
        }
        return seen;
    }

    private static Object notifications() throws SQLException {
        List<Object> seen = new ArrayList<>();
        try (Connection listener = Main.open(); Connection sender = Main.open()) {
            Main.execute(listener, "listen news");
            sender.setAutoCommit(false);
            Main.execute(sender, "notify news, 'first'");
            Main.rows(sender, "select pg_notify('news', ?)", "second");
            sender.commit();
            while (seen.size() < 2) {
                PGNotification[] heard = listener.unwrap(PGConnection.class).getNotifications(5000);
                for (PGNotification each : heard == null ? new PGNotification[0] : heard) {
                    seen.add(List.of(each.getName(), each.getParameter()));
                }
                if (heard == null) {
                    return "nothing heard";
                }
            }
        }
        return seen;
    }

    private static Object warnings() throws SQLException {
        List<Object> seen = new ArrayList<>();
        try (Connection connection = Main.open(); Statement statement = connection.createStatement()) {
            statement.execute("do $$ begin raise notice 'hear'; raise warning 'and this'; end $$");
            for (SQLWarning each = statement.getWarnings(); each != null; each = each.getNextWarning()) {
                seen.add(List.of(each.getSQLState(), each.getMessage()));
            }
        }
        return seen;
    }

    private static Object metadata() throws SQLException {
        List<Object> seen = new ArrayList<>();
        try (Connection connection = Main.open()) {
            Main.execute(connection, "create table described (id serial primary key, name varchar(20) not null)");
            seen.add(connection.getMetaData().getDatabaseProductVersion());
            for (List<String> column : Main.rows(connection.getMetaData().getColumns(null, "public", "described", "%"))) {
                seen.add(column.subList(2, 8));
            }
            seen.add(Main.rows(connection.getMetaData().getPrimaryKeys(null, "public", "described")));
        }
        return seen;
    }
}
