"""Parallel plans where none is needed."""


def forcing(connection):
    """The name of the setting that asks for them."""
    is_renamed = connection.info.server_version >= 160_000
    return "debug_parallel_query" if is_renamed else "force_parallel_mode"
