import java.util.Map;

/** Text of a JSON value: null, booleans, numbers, maps and iterables as they are, anything else as a string. */
final class Json {
    private Json() {}

    static String text(Object value) {
        StringBuilder out = new StringBuilder();
        write(out, value);
        return out.toString();
    }

    private static void write(StringBuilder out, Object value) {
        if (value == null || value instanceof Boolean || value instanceof Number) {
            out.append(value);
        } else if (value instanceof Map<?, ?> map) {
            map(out, map);
        } else if (value instanceof Iterable<?> list) {
            list(out, list);
        } else {
            string(out, value.toString());
        }
    }

    private static void map(StringBuilder out, Map<?, ?> map) {
        String before = "{";
        for (Map.Entry<?, ?> entry : map.entrySet()) {
            string(out.append(before), entry.getKey().toString());
            write(out.append(": "), entry.getValue());
            before = ", ";
        }
        out.append(map.isEmpty() ? "{}" : "}");
    }

    private static void list(StringBuilder out, Iterable<?> list) {
        out.append('[');
        String before = "";
        for (Object each : list) {
            write(out.append(before), each);
            before = ", ";
        }
        out.append(']');
    }

    private static void string(StringBuilder out, String text) {
        out.append('"');
        for (char each : text.toCharArray()) {
            if (each == '"' || each == '\\') {
                out.append('\\').append(each);
            } else if (each < ' ' || each > '~') {
                out.append(String.format("\\u%04x", (int) each));
            } else {
                out.append(each);
            }
        }
        out.append('"');
    }
}
