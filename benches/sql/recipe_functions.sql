-- The usual way to check a code without an extension: PL/pgSQL with pgcrypto's hmac().
CREATE FUNCTION bench.base32_decode(secret text) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    alphabet CONSTANT text := 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
    bits text := '';
    decoded bytea := '';
BEGIN
    FOR place IN 1 .. length(secret) LOOP
        bits := bits || (strpos(alphabet, substr(secret, place, 1)) - 1)::bit(5)::text;
    END LOOP;
    FOR byte IN 0 .. length(bits) / 8 - 1 LOOP
        decoded := decoded
            || decode(lpad(to_hex(substr(bits, byte * 8 + 1, 8)::bit(8)::int), 2, '0'), 'hex');
    END LOOP;
    RETURN decoded;
END $$;

CREATE FUNCTION bench.hotp(key bytea, counter bigint, digits integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    hash bytea := hmac(int8send(counter), key, 'sha1');
    start integer := get_byte(hash, length(hash) - 1) & 15;
    number bigint;
BEGIN
    number := ((get_byte(hash, start) & 127) << 24) | (get_byte(hash, start + 1) << 16)
              | (get_byte(hash, start + 2) << 8) | get_byte(hash, start + 3);
    RETURN lpad((number % (10 ^ digits)::bigint)::text, digits, '0');
END $$;

CREATE FUNCTION bench.check_code(secret text, code text, at timestamptz, digits integer = 6,
                                 period integer = 30, drift_steps integer = 1)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    key bytea := bench.base32_decode(secret);
    step bigint := floor(extract(epoch FROM at) / period);
BEGIN
    FOR offset_steps IN -drift_steps .. drift_steps LOOP
        IF bench.hotp(key, step + offset_steps, digits) = code THEN
            RETURN true;
        END IF;
    END LOOP;
    RETURN false;
END $$;
