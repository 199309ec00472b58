-- The technique of the module pgpm/totp: PL/pgSQL that takes text and bytes one by one, pgcrypto's hmac(), and a
-- comparison that takes the same time for every code. Each call computes one step.
CREATE FUNCTION bench.base32_bytewise(secret text) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    bits text := '';
    pairs text[] := '{}';
BEGIN
    FOR place IN 1 .. length(secret) LOOP
        bits := bits || (strpos('ABCDEFGHIJKLMNOPQRSTUVWXYZ234567', substr(secret, place, 1)) - 1)::bit(5)::text;
    END LOOP;
    FOR byte IN 0 .. length(bits) / 8 - 1 LOOP
        pairs := array_append(pairs, lpad(to_hex(substr(bits, byte * 8 + 1, 8)::bit(8)::int), 2, '0'));
    END LOOP;
    RETURN decode(array_to_string(pairs, ''), 'hex');
END $$;

CREATE FUNCTION bench.code_bytewise(secret text, step bigint) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    hash bytea := hmac(decode(lpad(to_hex(step), 16, '0'), 'hex'), bench.base32_bytewise(secret), 'sha1');
    four bytea := substr(hash, get_byte(hash, length(hash) - 1) % 16 + 1, 4);
    number bigint := ('x' || encode(set_bit(four, 7, 0), 'hex'))::bit(32)::bigint;
BEGIN
    RETURN lpad((number % 1000000)::text, 6, '0');
END $$;

CREATE FUNCTION bench.equal_bytewise(one bytea, other bytea) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    difference integer := length(one) # length(other);
BEGIN
    FOR place IN 0 .. greatest(length(one), length(other)) - 1 LOOP
        difference := difference | ((CASE WHEN place < length(one) THEN get_byte(one, place) ELSE 0 END)
                                    # (CASE WHEN place < length(other) THEN get_byte(other, place) ELSE 0 END));
    END LOOP;
    RETURN difference = 0;
END $$;

CREATE FUNCTION bench.check_code_bytewise(secret text, code text, at timestamptz) RETURNS boolean
LANGUAGE sql AS $$
    SELECT bool_or(bench.equal_bytewise(
        convert_to(bench.code_bytewise(secret, floor(extract(epoch FROM at) / 30)::bigint + apart), 'UTF8'),
        convert_to(code, 'UTF8')))
    FROM generate_series(-1, 1) AS apart
$$;
