// The five calls with pgx. README.md says how to run this.

package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/jackc/pgx/v4"
)

var db *pgx.Conn

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// The row of an answer; nil is a no.
func row(query string, parameters ...any) []any {
	rows, err := db.Query(context.Background(), query, parameters...)
	check(err)
	var values []any
	for rows.Next() {
		values, err = rows.Values()
		check(err)
	}
	check(rows.Err()) // an error, unlike a no
	return values
}

func isRow(query string, parameters ...any) bool {
	return row(query, parameters...) != nil
}

func phone(secret any, wait int) any {
	return row("SELECT totp.totp_code($1, clock_timestamp() + $2::int * interval '1 s')", secret, wait)[0]
}

func main() {
	var err error
	db, err = pgx.Connect(context.Background(), "")
	check(err)
	defer db.Close(context.Background())
	account := os.Args[1]

	secret := row("SELECT secret, uri FROM totp.totp_create($1)", account)[0]
	confirm := "SELECT array_to_string(backup_codes, ' ') FROM totp.totp_confirm($1, $2) WHERE confirmed"
	fmt.Println("wrong code confirms:", isRow(confirm, account, "00000000"))
	codes := strings.Split(row(confirm, account, phone(secret, 0))[0].(string), " ")
	fmt.Println("backup codes:", len(codes))

	fmt.Println("needs a code:", isRow("SELECT 1 WHERE totp.totp_enabled($1)", account))
	attempt := "SELECT 1 FROM totp.totp_attempt($1, $2) WHERE verified"
	fmt.Println("wrong code:", isRow(attempt, account, "00000000"))
	fmt.Println("right code:", isRow(attempt, account, phone(secret, 30)))
	backup := "SELECT 1 WHERE totp.backup_verify($1, $2)"
	fmt.Println("backup code:", isRow(backup, account, codes[0]))
	fmt.Println("same again:", isRow(backup, account, codes[0]))

	wait := "SELECT retry_after_seconds FROM totp.totp_attempt($1, $2) WHERE retry_after_seconds > 0"
	var locked []any
	for i := 0; i < 5; i++ {
		locked = row(wait, account, "00000000")
	}
	fmt.Println("locked for seconds:", locked[0])
}
