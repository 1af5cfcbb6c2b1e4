//! The `Stripe-Signature` header, checked over the raw bytes of a body.
//!
//! Rules as in Stripe's own libraries (stripe-node `Webhooks.ts`, stripe-go `webhook/client.go`): the message is the
//! timestamp, a dot and the body; the key is the whole secret; any `v1` that matches any secret is enough; entries of
//! other schemes and undecodable ones are passed over; a signature that is too old is refused, one from the future is
//! not, since clocks run apart.

use std::fmt;

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;

/// How old a signature may be, in seconds. Stripe's own default.
pub const TOLERANCE_SECONDS: i64 = 300;

/// The secrets of the endpoints that may deliver, any of which may have signed.
#[derive(Clone)]
pub struct Secrets(Vec<String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

/// Why a list of secrets cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("each secret has to start with whsec_, separated by commas")]
pub struct BadSecrets;

impl Secrets {
    /// The places at which there are secrets, counted from 1, as they are told apart where they must not be shown.
    pub fn places(&self) -> impl Iterator<Item = usize> {
        1..=self.0.len()
    }

    /// Reads a comma-separated list of `whsec_…`.
    pub fn parse(text: &str) -> Result<Self, BadSecrets> {
        let secrets: Vec<_> =
            text.split(',').map(str::trim).filter(|secret| !secret.is_empty()).map(str::to_owned).collect();
        let fits = |secret: &String| secret.len() > "whsec_".len() && secret.starts_with("whsec_");
        if secrets.is_empty() || !secrets.iter().all(fits) { Err(BadSecrets) } else { Ok(Self(secrets)) }
    }
}

/// Why a signature is refused.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum BadSignature {
    /// There is none, or more than one.
    #[error("the request needs exactly one Stripe-Signature header")]
    Missing,
    /// It cannot be read.
    #[error("the Stripe-Signature header has no readable t=… and v1=…")]
    Malformed,
    /// No secret made it for this body.
    #[error(
        "no configured secret matches; check STRIPE_WEBHOOK_SECRETS and that nothing changes the body on its way"
    )]
    NoMatch,
    /// It is genuine and too old.
    #[error("the signature is older than {TOLERANCE_SECONDS} seconds; check the clocks")]
    TooOld,
}

/// Checks a header against a body. Answers with the places of the secrets that signed: while one is being replaced, Stripe
/// signs with both.
pub fn verify(
    secrets: &Secrets,
    header: &str,
    body: &[u8],
    now: DateTime<Utc>,
) -> Result<Vec<usize>, BadSignature> {
    let mut timestamp = None;
    let mut candidates = Vec::new();
    for (key, value) in header.split(',').filter_map(|part| part.trim().split_once('=')) {
        match key {
            "t" => timestamp = timestamp.or(Some(value)),
            "v1" => candidates.extend(hex::decode(value).ok()),
            _ => {}
        }
    }
    let timestamp = timestamp.ok_or(BadSignature::Malformed)?;
    let signed_at: i64 = timestamp.parse().map_err(|_| BadSignature::Malformed)?;
    if candidates.is_empty() {
        return Err(BadSignature::Malformed);
    }
    let signed = |secret: &String| {
        let mac = mac(secret, timestamp, body);
        candidates.iter().any(|candidate| mac.clone().verify_slice(candidate).is_ok())
    };
    let signers: Vec<_> = secrets
        .places()
        .zip(&secrets.0)
        .filter_map(|(place, secret)| signed(secret).then_some(place))
        .collect();
    // Age is looked at only once the sender is known: an unsigned request learns nothing about our clock.
    match signers.is_empty() {
        true => Err(BadSignature::NoMatch),
        false if now.timestamp().saturating_sub(signed_at) > TOLERANCE_SECONDS => Err(BadSignature::TooOld),
        false => Ok(signers),
    }
}

/// The header that Stripe would send with a body, for tests and for histories that are played.
pub fn sign(secret: &str, body: &[u8], at: DateTime<Utc>) -> String {
    let timestamp = at.timestamp().to_string();
    let signature = mac(secret, &timestamp, body).finalize().into_bytes();
    format!("t={timestamp},v1={}", hex::encode(signature))
}

fn mac(secret: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_one";
    const BODY: &[u8] = br#"{"id":"evt_1"}"#;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    fn check(header: &str) -> Result<Vec<usize>, BadSignature> {
        verify(&Secrets::parse("whsec_one, whsec_two").unwrap(), header, BODY, at(0))
    }

    #[test]
    fn a_signature_matches_what_openssl_computes() {
        // printf '1700000000.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_one
        let expected = "t=1700000000,v1=".to_owned() + OPENSSL;
        assert_eq!(sign(SECRET, BODY, at(0)), expected);
    }

    const OPENSSL: &str = "401fbbceeb3818dc562ff77127ba1c62e47e24c9c6cde4d7a6eba85e32dbd058";

    #[test]
    fn any_v1_of_any_secret_is_enough_and_other_entries_are_passed_over() {
        let good = sign("whsec_two", BODY, at(0));
        let (t, v1) = good.split_once(',').unwrap();
        assert_eq!(check(&good), Ok(vec![2]));
        assert_eq!(check(&format!("{v1},{t}")), Ok(vec![2]));
        assert_eq!(check(&format!("{t},v0=abc,v1=zz,v1={},{v1},later=1", "0".repeat(64))), Ok(vec![2]));
        let both = sign(SECRET, BODY, at(0));
        assert_eq!(check(&format!("{good},{}", both.split_once(',').unwrap().1)), Ok(vec![1, 2]));
    }

    #[test]
    fn a_signature_of_another_body_secret_or_time_is_refused() {
        let good = sign(SECRET, BODY, at(0));
        assert_eq!(check(&sign("whsec_three", BODY, at(0))), Err(BadSignature::NoMatch));
        assert_eq!(check(&sign(SECRET, b"{}", at(0))), Err(BadSignature::NoMatch));
        assert_eq!(check(&good.replace("t=17", "t=18")), Err(BadSignature::NoMatch));
        for malformed in ["", "t=1", "v1=00", "t=x,v1=00", "t=1,v1=zz", "nonsense"] {
            assert_eq!(check(malformed), Err(BadSignature::Malformed), "{malformed}");
        }
    }

    #[test]
    fn a_signature_may_be_five_minutes_old_and_any_time_ahead() {
        assert_eq!(check(&sign(SECRET, BODY, at(-299))), Ok(vec![1]));
        assert_eq!(check(&sign(SECRET, BODY, at(-301))), Err(BadSignature::TooOld));
        assert_eq!(check(&sign(SECRET, BODY, at(86_400))), Ok(vec![1]));
        assert_eq!(check(&sign("whsec_three", BODY, at(-301))), Err(BadSignature::NoMatch));
    }

    #[test]
    fn secrets_are_trimmed_and_need_their_prefix() {
        assert!(Secrets::parse(" whsec_a ,whsec_b,").is_ok());
        for bad in ["", ",", "whsec_", "sk_test_1", "whsec_a,nope"] {
            assert_eq!(Secrets::parse(bad).unwrap_err(), BadSecrets, "{bad}");
        }
    }
}
