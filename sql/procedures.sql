-- Procedures that commit by themselves.

-- Neither SECURITY DEFINER nor SET, both of which rule out COMMIT. It therefore contains nothing that a
-- search_path could redirect: no operators, and only schema-qualified names.
CREATE PROCEDURE totp.key_rotate(batch integer DEFAULT 1000)
LANGUAGE plpgsql AS $$
DECLARE
    state jsonb;
BEGIN
    state := totp.key_rotate_step(batch, NULL);
    LOOP
        COMMIT;
        -- At any other level, a row changed by a login would cause an error.
        SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
        EXIT WHEN state IS NULL;
        state := totp.key_rotate_step(batch, state);
    END LOOP;
END $$;
COMMENT ON PROCEDURE totp.key_rotate(integer) IS
'Re-encrypts all rows that were encrypted with older keys, using the first key. For administrators. Works in batches and commits each one, so that logins can continue; after each batch it pauses for half the time that the batch took, at most one second. Call it outside a transaction block; several sessions can call it at the same time; after an interruption, call it again. Progress is shown by notices and the view key_status. Rows that cannot be decrypted are named in a warning and left unchanged. batch: 1 to 10000 rows. Errors: 25001 in a transaction block, 22023, F0000, 25006.';
