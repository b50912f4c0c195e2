import java.net.URI;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/** What pgjdbc sees: {@code java Main DSN}. Server-prepared statements, batches, autosave, fetch sizes, CopyManager. */
public final class Main {
    private static final int DEADLINE = 20; // seconds for one scenario
    private static URI dsn;

    private Main() {}

    /** Opens connections of its own. */
    interface Scenario {
        Object run() throws Exception;
    }

    /** Something that may fail. */
    interface Action {
        void run() throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        dsn = URI.create(arguments[0]);
        List<String> wanted = List.of(arguments).subList(1, arguments.length);
        Map<String, Scenario> scenarios = new LinkedHashMap<>();
        SessionScenarios.add(scenarios);
        StatementScenarios.add(scenarios);
        ExecutorService runner = Executors.newSingleThreadExecutor();
        for (Map.Entry<String, Scenario> each : scenarios.entrySet()) {
            if (wanted.isEmpty() || wanted.contains(each.getKey())) {
                Map<String, Object> line = new LinkedHashMap<>(Map.of("scenario", each.getKey()));
                Future<Object> saw = runner.submit(each.getValue()::run);
                try {
                    line.put("saw", saw.get(DEADLINE, TimeUnit.SECONDS));
                } catch (Exception error) {
                    line.put("failed", String.valueOf(error.getCause() == null ? error : error.getCause()));
                }
                System.out.println(Json.text(line));
            }
        }
        System.exit(0); // a scenario that was late may still run
    }

    /** Connect with further properties, by pairs of name and value. */
    static Connection open(String... properties) throws SQLException {
        String[] login = dsn.getRawUserInfo().split(":");
        Properties all = new Properties();
        all.setProperty("user", login[0]);
        all.setProperty("password", URLDecoder.decode(login[1].replace("+", "%2B"), StandardCharsets.UTF_8));
        String database = dsn.getPath();
        for (int at = 0; at < properties.length; at += 2) {
            if (properties[at].equals("database")) {
                database = "/" + properties[at + 1];
            } else {
                all.setProperty(properties[at], properties[at + 1]);
            }
        }
        return DriverManager.getConnection("jdbc:postgresql://" + dsn.getAuthority().split("@")[1] + database, all);
    }

    /** All rows of a query, each value as text. */
    static List<List<String>> rows(Connection connection, String query, Object... parameters) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(query)) {
            for (int at = 0; at < parameters.length; at++) {
                statement.setObject(at + 1, parameters[at]);
            }
            return statement.execute() ? rows(statement.getResultSet()) : List.of();
        }
    }

    static List<List<String>> rows(ResultSet result) throws SQLException {
        List<List<String>> found = new ArrayList<>();
        while (result.next()) {
            List<String> row = new ArrayList<>();
            for (int at = 1; at <= result.getMetaData().getColumnCount(); at++) {
                row.add(result.getString(at));
            }
            found.add(row);
        }
        return found;
    }

    static void execute(Connection connection, String query) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(query);
        }
    }

    static List<Object> shown(Connection connection, String... names) throws SQLException {
        List<Object> seen = new ArrayList<>();
        for (String name : names) {
            seen.add(rows(connection, "select current_setting(?, true)", name).get(0).get(0));
        }
        return seen;
    }

    /** SQLSTATE and message of what is thrown, or that nothing is. */
    static Object failure(Action action) {
        try {
            action.run();
            return "no error";
        } catch (SQLException error) {
            return List.of(String.valueOf(error.getSQLState()), String.valueOf(error.getMessage()));
        } catch (Exception error) {
            return error.toString();
        }
    }
}
