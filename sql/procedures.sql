-- What commits by itself.

-- Not SECURITY DEFINER and without SET, either of which forbids COMMIT. So nothing stands here that
-- a search_path could redirect: no operator, and names in full.
CREATE PROCEDURE totp.key_rotate(batch integer DEFAULT 1000)
LANGUAGE plpgsql AS $$
DECLARE
    finished boolean;
BEGIN
    finished := totp.key_rotate_step(batch, true);
    LOOP
        COMMIT;
        -- At any other level a row that a login has changed would be an error.
        SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
        EXIT WHEN finished;
        finished := totp.key_rotate_step(batch, false);
    END LOOP;
END $$;
COMMENT ON PROCEDURE totp.key_rotate(integer) IS
'For administrators: seals every row of an older key anew with the first one, batch by batch, each committed, while logins go on; after each it rests for half of its time, a second at most. To be called outside of a transaction block; several sessions may call it at once; after an interruption call it again. Progress: notices, and the view key_status. Rows that do not open are named in a warning and stay as they are. batch: 1 to 10000 rows. Errors: 25001 in a transaction block, 22023, F0000, 25006.';
