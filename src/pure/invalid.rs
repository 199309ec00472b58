//! What can be wrong with an argument. The words for it stand in `error.rs`.

/// An argument that is refused with SQLSTATE 22023.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalid {
    /// A text is NULL or empty where one is required.
    Missing {
        /// The argument's name in SQL.
        argument: &'static str,
    },
    /// A text has more characters than allowed.
    TooLong {
        /// The argument's name in SQL.
        argument: &'static str,
        /// The most characters it may have.
        limit: usize,
    },
    /// A value has more bytes than are read.
    TooLarge {
        /// The argument's name in SQL.
        argument: &'static str,
        /// The most bytes it may have.
        limit: usize,
    },
    /// A text has fewer characters than needed.
    TooShort {
        /// The argument's name in SQL.
        argument: &'static str,
        /// The fewest characters it may have.
        least: usize,
    },
    /// A text is not UTF-8.
    Foreign {
        /// The argument's name in SQL.
        argument: &'static str,
    },
    /// The issuer holds a colon, which separates issuer and account in an `otpauth` label.
    Colon,
    /// The algorithm is none of SHA1, SHA256 and SHA512.
    Algorithm,
    /// The number of digits is not 6, 7 or 8.
    Digits(i32),
    /// The period is not 1 to 120 seconds.
    Period(i32),
    /// The secret is not base32.
    Base32,
    /// The secret is in groups that differ in length.
    Base32Groups,
    /// The secret has this many bytes, and 10 to 128 are allowed.
    SecretLength(usize),
    /// The time is before 1970 or infinite.
    Time,
    /// The number of drift steps is not 0 to 1000.
    DriftSteps(i32),
    /// The life of a token is not 1 second to so many days.
    Ttl {
        /// The most days.
        days: i64,
    },
    /// The age is negative.
    Age,
    /// The claims are not a JSON object.
    Claims,
    /// The claim `exp` is no number of seconds.
    Expiry,
    /// The rows of a batch are not 1 to 10000.
    Batch,
    /// The data does not fit into a QR code.
    QrCapacity,
    /// The text is no URI of a TOTP secret.
    Uri(UriFlaw),
}

/// What can be wrong with an `otpauth` URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UriFlaw {
    /// It is for counter-based codes.
    Hotp,
    /// It is for Steam's codes, which are letters.
    Steam,
    /// It is of no type that is known.
    Type,
    /// It has no secret.
    NoSecret,
    /// One of secret, algorithm, digits and period is there twice.
    Duplicate,
    /// Digits or period is no number.
    Number,
    /// A percent sign is not followed by two hex digits, or the text is not UTF-8 then.
    Escape,
    /// The algorithm is none of SHA1, SHA256 and SHA512.
    Algorithm,
    /// The number of digits is not 6, 7 or 8.
    Digits,
    /// The period is not 1 to 120 seconds.
    Period,
    /// A parameter that is not known seems to change codes.
    Misnamed(Meaning),
    /// A parameter is inside another one, or behind the mark of a fragment.
    Hidden,
    /// It is not alone, or is on more than one line.
    Several,
}

/// What a parameter that is not known seems to set.
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
    /// Another way to make codes.
    Codes,
}
