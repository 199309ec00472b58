//! The reasons to reject an argument. The messages are in `error::argument`.

/// An invalid argument (SQLSTATE 22023, or 22021 for `NotUtf8`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalid {
    /// A required text is NULL or empty.
    Missing {
        /// The argument's name in SQL.
        argument: &'static str,
    },
    /// A text has too many characters.
    TooManyChars {
        /// The argument's name in SQL.
        argument: &'static str,
        /// The maximum number of characters.
        limit: usize,
    },
    /// A value has too many bytes.
    TooManyBytes {
        /// The argument's name in SQL.
        argument: &'static str,
        /// The maximum number of bytes.
        limit: usize,
    },
    /// A text has too few characters.
    TooFewChars {
        /// The argument's name in SQL.
        argument: &'static str,
        /// The minimum number of characters.
        min: usize,
    },
    /// A text is not valid UTF-8, or contains NUL.
    NotUtf8 {
        /// The argument's name in SQL.
        argument: &'static str,
    },
    /// The issuer contains a colon, which separates issuer and account in an `otpauth` label.
    Colon,
    /// The address of the logo is not an https URL.
    Image,
    /// The algorithm is not SHA1, SHA256 or SHA512.
    Algorithm,
    /// The number of digits is not 6, 7 or 8.
    Digits(i32),
    /// The period is not 1 to 120 seconds.
    Period(i32),
    /// The secret is not valid base32.
    Base32,
    /// The secret is written in groups of different lengths.
    Base32Groups,
    /// The secret has this many bytes; 10 to 128 are allowed.
    SecretLength(usize),
    /// The time is before 1970 or infinite.
    Time,
    /// The number of drift steps is not 0 to 1000.
    DriftSteps(i32),
    /// The lifetime of a token is not between 1 second and `days` days.
    Ttl {
        /// The maximum number of days.
        days: i64,
    },
    /// The age is negative.
    Age,
    /// The time for enrolment is negative or longer than `days` days.
    Grace {
        /// The maximum number of days.
        days: i64,
    },
    /// The number of uses of a pass is not 1 to 20.
    Uses(i32),
    /// The name of an action has other characters than letters, digits and a few marks.
    Action,
    /// The payload of an action is not a JSON object.
    Payload,
    /// An account is to approve its own request as if it were another's.
    Approver,
    /// The claims are not a JSON object.
    Claims,
    /// The claim `exp` is not a whole number of seconds.
    Expiry,
    /// The batch size is not 1 to 10000 rows.
    Batch,
    /// A required value that is not text is NULL.
    Null {
        /// The argument's name in SQL.
        argument: &'static str,
    },
    /// The number of rows to return is not 1 to 10000.
    MaxRows(i32),
    /// Digests are not what `audit_digest` returned.
    Digests,
    /// The state of a rotation is not one that `key_rotate_step` returned.
    RotationState,
    /// The data does not fit in a QR code.
    QrCapacity,
    /// The document is not this.
    Document(&'static str),
    /// The URIs are not those of a transfer.
    Migration(&'static str),
    /// The file for an import does not contain this.
    ImportKey(&'static str),
    /// The document is encrypted, and there is no key.
    EncryptedDocument,
    /// The document is encrypted in a way that is not supported, or a parameter of it is missing.
    Cipher,
    /// The key or password is not that of the document, or the document was changed.
    WrongKey,
    /// The name of a file for an import is not a plain name.
    FileName,
    /// The text is not the URI of a TOTP secret.
    Uri(UriFlaw),
}

/// Why an `otpauth` URI is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UriFlaw {
    /// It is for counter-based codes (HOTP).
    Hotp,
    /// It is for Steam codes, which consist of letters.
    Steam,
    /// Its type is unknown.
    Type,
    /// It has no secret.
    NoSecret,
    /// The secret, algorithm, digits or period occurs twice.
    Duplicate,
    /// The number of digits or the period is not a number.
    Number,
    /// A percent sign is not followed by two hex digits, or the decoded text is not UTF-8.
    Escape,
    /// The algorithm is not SHA1, SHA256 or SHA512.
    Algorithm,
    /// The number of digits is not 6, 7 or 8.
    Digits,
    /// The period is not 1 to 120 seconds.
    Period,
    /// An unknown parameter seems to affect the codes.
    Misnamed(Meaning),
    /// A parameter is inside another one, or follows the start of a fragment.
    Hidden,
    /// It contains a second URI or a line break.
    Several,
}

/// What an unknown parameter seems to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The secret.
    Secret,
    /// The algorithm.
    Algorithm,
    /// The number of digits.
    Digits,
    /// The period.
    Period,
    /// Another way to compute codes.
    Codes,
}
