"""Texts that people really have in names, and texts that break careless code."""

# What issuers and account names can look like; none has a colon.
NAMES = {
    "blanks": "Acme Corp  Ltd",
    "query characters": "A&B?c=d#e",
    "percent": "100% %41 %%",
    "plus": "user+tag@example.com",
    "umlauts": "Jörg Müller GmbH & Söhne",
    "emoji": "🔑 Schlüssel 👩‍💻",
    "right to left": "שלום \u200fעולם",
    "quotes": 'O\'Brien "Bob" `x` $$ \\',
    "markup": "<script>alert(1)</script>&lt;",
    "slashes": "a/b//c/../d",
    "line ends": "first\nsecond\r\n\tthird",
}

# What an account can be besides: it may have colons, and anything else but NUL.
ACCOUNTS = {
    **NAMES,
    "colons": "urn:user:42",
    "SQL": "'; DROP TABLE totp.accounts; --",
    "one character": "ß",
    "blank": " ",
    "255 letters": "a" * 255,
    "255 emoji": "🔑" * 255,
    "control characters": "\x01\x02\x1b[31m\x7f",
    "invisible characters": "a\u200b\u202e\ufeffb",
    "not in normal form": "e\u0301",
}


def by_name(texts):
    """Arguments for `parametrize`: the values, under their names."""
    return {"argvalues": texts.values(), "ids": texts.keys()}
