//! A token: a grant and its secret, as text for one machine's firmware table or USB stick.
//!
//! Does:      carries how its root follows an older one, for sites that have not heard of that.
//! Does not:  go over the network: a joiner signs with the secret and sends the grant alone.
//! Bounds:    `TOKEN_GRANT_BYTES_MAX`, `SUCCESSION_BYTES_MAX`.
//! Trusts:    nobody.
//! Start at:  `Token`.

use crate::armour::{self, BadText};
use crate::grant::{Grant, GrantRight};
use crate::secret::{SecretKey, Seed};
use crate::succession::Succession;
use protocol::peer::admission::{SUCCESSION_BYTES_MAX, TOKEN_GRANT_BYTES_MAX};
use protocol::peer::capped::Capped;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// How a token's text starts.
pub const TOKEN_PREFIX: &str = "luc-token-";

/// The right to join a site, with the secret that proves it.
#[derive(Debug, Clone)]
pub struct Token {
    grant: Grant,
    secret: SecretKey,
    succession: Option<Succession>,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    version: u8,
    seed: [u8; 32],
    grant: Capped<TOKEN_GRANT_BYTES_MAX>,
    succession: Capped<SUCCESSION_BYTES_MAX>,
}

impl Token {
    /// `None`: the secret is not the grant's, or the grant is no token's.
    pub fn new(grant: Grant, secret: SecretKey, succession: Option<Succession>) -> Option<Self> {
        let is_token = matches!(grant.fields().right, GrantRight::Token { .. });
        let fits = is_token
            && grant.fields().key == secret.public()
            && grant.encode().len() <= TOKEN_GRANT_BYTES_MAX;
        fits.then_some(Self {
            grant,
            secret,
            succession,
        })
    }

    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    pub const fn secret(&self) -> &SecretKey {
        &self.secret
    }

    pub const fn succession(&self) -> Option<&Succession> {
        self.succession.as_ref()
    }

    /// The text; whoever reads it has the right.
    pub fn reveal(&self) -> String {
        let succession = self.succession.as_ref().map(Succession::encode);
        let wire = Wire {
            version: 1,
            seed: *self.secret.seed().reveal(),
            grant: Capped::new(self.grant.encode()).unwrap_or_default(),
            succession: Capped::new(succession.unwrap_or_default()).unwrap_or_default(),
        };
        let bytes = postcard::to_extend(&wire, Vec::new()).unwrap_or_default();
        armour::write(TOKEN_PREFIX, &bytes)
    }
}

impl FromStr for Token {
    type Err = BadText;

    fn from_str(text: &str) -> Result<Self, BadText> {
        let bytes = armour::read(TOKEN_PREFIX, text)?;
        let (wire, _later) =
            postcard::take_from_bytes::<Wire>(&bytes).map_err(|_| BadText::Content)?;
        let succession = match wire.succession.bytes() {
            [] => None,
            bytes => Some(Succession::decode(bytes).ok_or(BadText::Content)?),
        };
        let grant = Grant::decode(wire.grant.bytes()).ok_or(BadText::Content)?;
        let secret = SecretKey::from_seed(&Seed::new(wire.seed));
        Self::new(grant, secret, succession).ok_or(BadText::Content)
    }
}

impl fmt::Display for Token {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token of {}", self.grant.id())
    }
}
