"""A schema with an operator that a search_path can put before PostgreSQL's own: it notes as whom it runs."""

COMPARISON = """
CREATE TABLE {schema}.ran (who text);
GRANT USAGE ON SCHEMA {schema} TO PUBLIC;
GRANT INSERT, SELECT ON {schema}.ran TO PUBLIC;
CREATE FUNCTION {schema}.equal(text, text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO {schema}.ran VALUES (current_user);
    RETURN $1 OPERATOR(pg_catalog.=) $2;
END $$;
CREATE OPERATOR {schema}.= (LEFTARG = text, RIGHTARG = text, FUNCTION = {schema}.equal);
"""


def trap(schema):
    """The statements that make it in a schema that there is."""
    return COMPARISON.format(schema=schema)


def victims(client, schema):
    """The roles as which it has run."""
    return client.rows(f"SELECT DISTINCT who FROM {schema}.ran")
