//! Events for the application: what a user should hear of, and what someone should look at.

/// The kind of an event. Plain successes and failures are no events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Two-factor authentication was turned on.
    Enrolled,
    /// A further authenticator app was confirmed, or one was replaced.
    DeviceAdded,
    /// One of several authenticator apps was removed.
    DeviceRemoved,
    /// An authenticator app's clock was resynchronized.
    Resynced,
    /// Two-factor authentication was turned off with a code.
    Disabled,
    /// A new set of backup codes replaced the old one.
    BackupReplaced,
    /// Few backup codes are left.
    BackupLow,
    /// A code was used a second time.
    Replayed,
    /// Failures have locked the account.
    Locked,
    /// Failures have suspended TOTP for the account.
    Suspended,
    /// The number of consecutive failures is unusual.
    ManyFailures,
    /// A device was trusted to skip the second factor.
    Trusted,
    /// All trusted devices were revoked.
    TrustRevoked,
    /// A recovery link was created.
    RecoveryAsked,
    /// A recovery link was used, and takes effect after a delay.
    RecoveryStarted,
    /// A recovery was canceled.
    RecoveryCanceled,
    /// A recovery link took effect.
    Recovered,
    /// An administrator removed all factors.
    Reset,
    /// An administrator lifted a lock.
    Unlocked,
    /// An administrator imported a secret.
    Imported,
    /// An administrator exported a secret.
    Exported,
    /// An administrator renamed the account.
    Renamed,
    /// The account is asked to approve an action.
    ApprovalAsked,
    /// An administrator issued a temporary pass.
    PassIssued,
    /// An administrator revoked a temporary pass.
    PassRevoked,
    /// An administrator required the account to have a second factor.
    Required,
    /// An administrator exempted the account from the requirement.
    Exempted,
    /// An administrator lifted the requirement.
    Released,
}

impl Kind {
    /// Returns the name used in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enrolled => "enrolled",
            Self::DeviceAdded => "device_added",
            Self::DeviceRemoved => "device_removed",
            Self::Resynced => "resynced",
            Self::Disabled => "disabled",
            Self::BackupReplaced => "backup_replaced",
            Self::BackupLow => "backup_low",
            Self::Replayed => "replayed",
            Self::Locked => "locked",
            Self::Suspended => "suspended",
            Self::ManyFailures => "many_failures",
            Self::Trusted => "trusted",
            Self::TrustRevoked => "trust_revoked",
            Self::RecoveryAsked => "recovery_asked",
            Self::RecoveryStarted => "recovery_started",
            Self::RecoveryCanceled => "recovery_canceled",
            Self::Recovered => "recovered",
            Self::Reset => "reset",
            Self::Unlocked => "unlocked",
            Self::Imported => "imported",
            Self::Exported => "exported",
            Self::Renamed => "renamed",
            Self::ApprovalAsked => "approval_asked",
            Self::PassIssued => "pass_issued",
            Self::PassRevoked => "pass_revoked",
            Self::Required => "required",
            Self::Exempted => "exempted",
            Self::Released => "released",
        }
    }
}

/// Returns whether so many consecutive failures are unusual: twice as many as lock the account, and
/// then each time that their number has doubled.
pub fn is_unusual(failures: u32, max_failures: u32) -> bool {
    let max_failures = max_failures.max(1);
    let times = failures / max_failures;
    failures.is_multiple_of(max_failures) && times >= 2 && times.is_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_unusual_each_time_that_they_double() {
        let unusual =
            |max| (0..100).filter(|failures| is_unusual(*failures, max)).collect::<Vec<_>>();
        assert_eq!(unusual(5), [10, 20, 40, 80]);
        assert_eq!(unusual(3), [6, 12, 24, 48, 96]);
        assert_eq!(unusual(1), [2, 4, 8, 16, 32, 64]);
        assert_eq!(unusual(0), [2, 4, 8, 16, 32, 64]);
    }
}
