//! What new secrets of an account look like, unless the caller says otherwise.

use crate::error::Error;
use crate::pure::invalid::Invalid;
use crate::pure::name::{Account, Image, Issuer};
use crate::pure::otp::Parameters;
use crate::store::tenant::Defaults;
use crate::{server, settings, store};

/// The defaults that `totp.tenant_function` returns for an account.
#[derive(Default)]
pub struct Tenant {
    issuer: Option<Issuer>,
    /// The address of the logo.
    pub image: Option<Image>,
    digits: Option<i32>,
    period: Option<i32>,
}

impl Tenant {
    /// Asks the function, if there is one. It belongs to the application and runs with the rights of
    /// its owner: those of `totp_owner` would let it read the secrets.
    pub fn of(account: &Account) -> Result<Self, Error> {
        let Some(setting) = settings::tenant_function() else {
            return Ok(Self::default());
        };
        let function = store::tenant::function(&setting)?.ok_or(Error::NoTenantFunction)?;
        let call = || store::tenant::defaults(&function, account);
        let mut rows = server::with_restricted_rights_of(function.owner, call)?;
        match (rows.pop(), rows.is_empty()) {
            (None, _) => Ok(Self::default()),
            (Some(defaults), true) => Self::new(defaults).map_err(Error::TenantValue),
            (Some(_), false) => Err(Error::TenantRows),
        }
    }

    /// Whether the setting names a function with the right argument and result, if it is set.
    pub fn is_function_suitable() -> Result<Option<bool>, Error> {
        let Some(setting) = settings::tenant_function() else {
            return Ok(None);
        };
        Ok(Some(store::tenant::function(&setting)?.is_some()))
    }

    fn new(defaults: Defaults) -> Result<Self, Invalid> {
        let Defaults { issuer, image, digits, period } = defaults;
        // In tables of applications, an empty text is often none.
        let is_given = |text: &String| !text.is_empty();
        let tenant = Self {
            issuer: issuer.filter(is_given).map(Issuer::new).transpose()?,
            image: image.filter(is_given).map(Image::new).transpose()?,
            digits,
            period,
        };
        tenant.parameters("SHA1", None, None)?;
        Ok(tenant)
    }

    /// Returns the issuer: the given one, the tenant's, `totp.issuer` or the name of the database.
    pub fn issuer(&self, given: Option<Issuer>) -> Result<Issuer, Invalid> {
        match given.or_else(|| self.issuer.clone()) {
            Some(issuer) => Ok(issuer),
            None => Issuer::new(settings::issuer().unwrap_or_else(server::database_name)),
        }
    }

    /// Returns the parameters: the given ones, the tenant's, or those that all apps support.
    pub fn parameters(
        &self,
        algorithm: &str,
        digits: Option<i32>,
        period: Option<i32>,
    ) -> Result<Parameters, Invalid> {
        let digits = digits.or(self.digits).unwrap_or(Parameters::DIGITS);
        let period = period.or(self.period).unwrap_or(Parameters::PERIOD);
        Parameters::new(algorithm, digits, period)
    }
}
