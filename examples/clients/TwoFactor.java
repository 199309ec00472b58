// The five calls with JDBC. README.md says how to run this.

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;

class TwoFactor {
    static Connection db;

    // The first column of the row of an answer; null is a no.
    static String value(String query, Object... parameters) throws SQLException {
        try (var statement = db.prepareStatement(query)) {
            for (int i = 0; i < parameters.length; i++) statement.setObject(i + 1, parameters[i]);
            try (var rows = statement.executeQuery()) {
                return rows.next() ? rows.getString(1) : null;
            }
        }
    }

    static boolean isRow(String query, Object... parameters) throws SQLException {
        return value(query, parameters) != null;
    }

    static String phone(String secret, int wait) throws SQLException {
        return value("SELECT totp.totp_code(?, clock_timestamp() + ? * interval '1 s')", secret, wait);
    }

    public static void main(String[] arguments) throws SQLException {
        var at = System.getenv();
        db = DriverManager.getConnection("jdbc:postgresql://127.0.0.1:" + at.get("PGPORT") + "/" + at.get("PGDATABASE"),
            at.get("PGUSER"), "");
        var account = arguments[0];

        var secret = value("SELECT secret, uri FROM totp.totp_create(?)", account);
        var confirm = "SELECT array_to_string(backup_codes, ' ') FROM totp.totp_confirm(?, ?) WHERE confirmed";
        System.out.println("wrong code confirms: " + isRow(confirm, account, "00000000"));
        var codes = value(confirm, account, phone(secret, 0)).split(" ");
        System.out.println("backup codes: " + codes.length);

        System.out.println("needs a code: " + isRow("SELECT 1 WHERE totp.totp_enabled(?)", account));
        var attempt = "SELECT 1 FROM totp.totp_attempt(?, ?) WHERE verified";
        System.out.println("wrong code: " + isRow(attempt, account, "00000000"));
        System.out.println("right code: " + isRow(attempt, account, phone(secret, 30)));
        var backup = "SELECT 1 WHERE totp.backup_verify(?, ?)";
        System.out.println("backup code: " + isRow(backup, account, codes[0]));
        System.out.println("same again: " + isRow(backup, account, codes[0]));

        var wait = "SELECT retry_after_seconds FROM totp.totp_attempt(?, ?) WHERE retry_after_seconds > 0";
        String locked = null;
        for (int i = 0; i < 5; i++) locked = value(wait, account, "00000000");
        System.out.println("locked for seconds: " + locked);
        db.close();
    }
}
