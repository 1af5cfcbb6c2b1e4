//! Access tokens: who somebody is, for ten minutes, without a look at the store.
//!
//! One algorithm, keys by id, a type of their own, an issuer and an audience. What any of these does not fit is no token of
//! this service, and is not told apart from rubbish.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use domain::account::Role;
use domain::ids::{MemberId, SessionId};
use domain::ports::StoreError;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};
use thiserror::Error;

const ALGORITHM: Algorithm = Algorithm::HS256;
/// Says that it is an access token, which no other token that a key of ours may sign is.
const TYPE: &str = "at+jwt";
/// The shortest key that is as strong as the algorithm.
const SHORTEST: usize = 32;
/// How far the clock of another process that signs may be ahead.
const LEEWAY: TimeDelta = TimeDelta::seconds(5);
/// Longer texts are no tokens of ours, and are not worth reading.
const LONGEST: usize = 2_048;

/// The keys that sign: the first signs, all of them verify.
#[derive(Clone)]
pub struct Keys(Arc<[Key]>);

struct Key {
    id: String,
    signs: EncodingKey,
    verifies: DecodingKey,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

/// Why a list of keys cannot be used. Never says what an entry holds.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "entry {entry}: {problem}; expected kid:base64,… with at least 32 bytes each, such as 2026-11:$(openssl rand -base64 32)"
)]
pub struct BadKeys {
    entry: usize,
    problem: &'static str,
}

impl Key {
    fn new(id: &str, secret: &[u8]) -> Self {
        let (signs, verifies) = (EncodingKey::from_secret(secret), DecodingKey::from_secret(secret));
        Self { id: id.to_owned(), signs, verifies }
    }

    fn parse(entry: &str) -> Result<Self, &'static str> {
        let (id, secret) = entry.split_once(':').ok_or("it has no ':' between its id and its key")?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if !(1..=64).contains(&id.len()) || !id.bytes().all(plain) {
            return Err("its id is not made of 1 to 64 letters, digits, '-', '_' and '.'");
        }
        let alphabets = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD];
        let secret = alphabets.iter().find_map(|alphabet| alphabet.decode(secret).ok());
        let secret = zeroize::Zeroizing::new(secret.ok_or("its key is not base64")?);
        if secret.len() < SHORTEST {
            return Err("its key is shorter than 32 bytes");
        }
        Ok(Self::new(id, &secret))
    }
}

impl Keys {
    /// Reads `kid:base64,…`.
    pub fn parse(text: &str) -> Result<Self, BadKeys> {
        let mut keys: Vec<Key> = Vec::new();
        for (index, entry) in text.split(',').enumerate() {
            let bad = |problem| BadKeys { entry: index + 1, problem };
            let key = Key::parse(entry.trim()).map_err(bad)?;
            if keys.iter().any(|held| held.id == key.id) {
                return Err(bad("its id was given before"));
            }
            keys.push(key);
        }
        Ok(Self(keys.into()))
    }

    /// One key made of these bytes, as the demo has.
    pub fn one(id: &str, secret: [u8; 32]) -> Self {
        Self([Key::new(id, &secret)].into())
    }
}

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Who.
    pub member: MemberId,
    /// In which session. Whether that has been revoked, the access index knows.
    pub session: SessionId,
    /// With which rights.
    pub role: Role,
}

/// Why a text is no access token that counts now.
#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
pub enum BadAccessToken {
    /// It was one; renew it.
    #[error("the access token has expired")]
    Expired,
    /// It never was one of this service.
    #[error("it is not an access token of this service")]
    NotOurs,
}

#[derive(Serialize, Deserialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: MemberId,
    sid: SessionId,
    /// The refresh token it was made with, by its number.
    #[serde(rename = "gen")]
    generation: u32,
    role: Role,
    iat: i64,
    exp: i64,
}

/// What the reader takes from the claims; issuer and audience have been compared by then.
#[derive(Deserialize)]
struct Told {
    sub: MemberId,
    sid: SessionId,
    #[serde(rename = "gen")]
    generation: u32,
    role: Role,
    iat: i64,
    exp: i64,
}

/// Makes and reads access tokens.
pub(crate) struct Tokens {
    keys: Keys,
    issuer: String,
    audience: String,
    life: TimeDelta,
    validation: Validation,
}

impl Tokens {
    pub(crate) fn new(keys: Keys, issuer: String, audience: String, life: TimeDelta) -> Self {
        let mut validation = Validation::new(ALGORITHM);
        // The crate asks the machine's clock; the service has its own, and compares below.
        (validation.validate_exp, validation.validate_nbf, validation.leeway) = (false, false, 0);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&issuer]);
        validation.set_audience(&[&audience]);
        Self { keys, issuer, audience, life, validation }
    }

    /// A token, and when it ends.
    pub(crate) fn make(
        &self,
        access: &Access,
        generation: u32,
        now: DateTime<Utc>,
    ) -> Result<(String, DateTime<Utc>), StoreError> {
        let unsigned = |why: String| StoreError::Unavailable(format!("no token could be signed: {why}"));
        let key = self.keys.0.first().ok_or_else(|| unsigned("there is no key".to_owned()))?;
        let header =
            Header { typ: Some(TYPE.to_owned()), kid: Some(key.id.clone()), ..Header::new(ALGORITHM) };
        let Access { member, session, role } = access;
        let expires_at = now + self.life;
        let claims = Claims {
            iss: &self.issuer,
            aud: &self.audience,
            sub: member.clone(),
            sid: session.clone(),
            generation,
            role: *role,
            iat: now.timestamp(),
            exp: expires_at.timestamp(),
        };
        let token = encode(&header, &claims, &key.signs).map_err(|why| unsigned(why.to_string()))?;
        Ok((token, expires_at))
    }

    /// What a token says, and the number of the refresh token it was made with.
    pub(crate) fn read(&self, token: &str, now: DateTime<Utc>) -> Result<(Access, u32), BadAccessToken> {
        let not_ours = |_| BadAccessToken::NotOurs;
        if token.len() > LONGEST {
            return Err(BadAccessToken::NotOurs);
        }
        let header = decode_header(token).map_err(not_ours)?;
        if header.alg != ALGORITHM || header.typ.as_deref() != Some(TYPE) {
            return Err(BadAccessToken::NotOurs);
        }
        let key = self.keys.0.iter().find(|key| header.kid.as_deref() == Some(&key.id));
        let key = key.ok_or(BadAccessToken::NotOurs)?;
        let told: Told = decode(token, &key.verifies, &self.validation).map_err(not_ours)?.claims;
        let now = now.timestamp();
        if told.iat > now + LEEWAY.num_seconds() {
            return Err(BadAccessToken::NotOurs);
        }
        if now >= told.exp {
            return Err(BadAccessToken::Expired);
        }
        Ok((Access { member: told.sub, session: told.sid, role: told.role }, told.generation))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SECRET: [u8; 32] = [1; 32];
    const OLD: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
    const NEW: &str = "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=";

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn tokens(keys: Keys, issuer: &str, audience: &str) -> Tokens {
        Tokens::new(keys, issuer.to_owned(), audience.to_owned(), TimeDelta::minutes(10))
    }

    fn ours() -> Tokens {
        tokens(Keys::one("a", SECRET), "https://m.example", "membership")
    }

    fn access() -> Access {
        Access { member: "mem_ada".into(), session: "ses_1".into(), role: Role::Support }
    }

    fn token() -> String {
        ours().make(&access(), 7, now()).unwrap().0
    }

    fn later(seconds: i64) -> DateTime<Utc> {
        now() + TimeDelta::seconds(seconds)
    }

    fn part(value: &Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    fn claims() -> Value {
        let payload = token().split('.').nth(1).unwrap().to_owned();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
    }

    /// A token with any header and claims, rightly signed by HS256.
    fn signed(header: &Value, claims: &Value, secret: &[u8]) -> String {
        use hmac::{Hmac, KeyInit, Mac};
        let text = format!("{}.{}", part(header), part(claims));
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
        mac.update(text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    fn header() -> Value {
        json!({ "alg": "HS256", "typ": "at+jwt", "kid": "a" })
    }

    fn read(token: &str) -> Result<Access, BadAccessToken> {
        ours().read(token, now()).map(|(access, _)| access)
    }

    #[test]
    fn a_token_reads_back_until_it_expires_by_the_clock_it_is_given() {
        assert_eq!(ours().read(&token(), later(599)), Ok((access(), 7)));
        assert_eq!(ours().read(&token(), later(600)), Err(BadAccessToken::Expired));
        assert_eq!(ours().read(&token(), later(-5)), Ok((access(), 7)), "a clock a little behind");
        assert_eq!(ours().read(&token(), later(-6)), Err(BadAccessToken::NotOurs), "made in the future");
    }

    #[test]
    fn what_the_attacks_below_begin_with_is_a_good_token() {
        assert_eq!(read(&signed(&header(), &claims(), &SECRET)), Ok(access()));
    }

    #[test]
    fn no_other_algorithm_is_believed() {
        let mut confused: Vec<String> = ["none", "None", "HS384", "HS512", "RS256", "ES256", "EdDSA", ""]
            .iter()
            .map(|alg| signed(&json!({ "alg": alg, "typ": "at+jwt", "kid": "a" }), &claims(), &SECRET))
            .collect();
        let none = json!({ "alg": "none", "typ": "at+jwt", "kid": "a" });
        confused.push(format!("{}.{}.", part(&none), part(&claims())));
        for token in confused {
            assert_eq!(read(&token), Err(BadAccessToken::NotOurs), "{token}");
        }
    }

    #[test]
    fn only_a_key_of_ours_by_its_own_id_is_believed() {
        for kid in [json!("b"), json!(""), json!("../a"), Value::Null] {
            let header = json!({ "alg": "HS256", "typ": "at+jwt", "kid": kid });
            assert_eq!(read(&signed(&header, &claims(), &SECRET)), Err(BadAccessToken::NotOurs));
        }
        let without = json!({ "alg": "HS256", "typ": "at+jwt" });
        assert_eq!(read(&signed(&without, &claims(), &SECRET)), Err(BadAccessToken::NotOurs));
        assert_eq!(read(&signed(&header(), &claims(), &[2; 32])), Err(BadAccessToken::NotOurs));
    }

    #[test]
    fn a_key_that_a_token_brings_along_is_not_used() {
        let header = json!({
            "alg": "HS256", "typ": "at+jwt", "kid": "z",
            "jwk": { "kty": "oct", "k": URL_SAFE_NO_PAD.encode([9; 32]) }, "jku": "https://evil.example/keys",
        });
        assert_eq!(read(&signed(&header, &claims(), &[9; 32])), Err(BadAccessToken::NotOurs));
    }

    #[test]
    fn a_token_of_another_type_issuer_or_audience_is_not_an_access_token() {
        for typ in [json!("JWT"), json!("rt+jwt"), json!("AT+JWT "), Value::Null] {
            let header = json!({ "alg": "HS256", "typ": typ, "kid": "a" });
            assert_eq!(read(&signed(&header, &claims(), &SECRET)), Err(BadAccessToken::NotOurs), "{typ}");
        }
        for (issuer, audience) in [("https://m.example", "shop"), ("https://other.example", "membership")] {
            let other = tokens(Keys::one("a", SECRET), issuer, audience);
            let token = other.make(&access(), 1, now()).unwrap().0;
            assert_eq!(read(&token), Err(BadAccessToken::NotOurs), "{issuer} {audience}");
        }
    }

    #[test]
    fn a_claim_that_is_missing_or_of_another_kind_makes_it_no_token() {
        for claim in ["iss", "aud", "sub", "sid", "gen", "role", "iat", "exp"] {
            let mut without = claims();
            without.as_object_mut().unwrap().remove(claim);
            assert_eq!(read(&signed(&header(), &without, &SECRET)), Err(BadAccessToken::NotOurs), "{claim}");
        }
        let bad = [
            ("exp", json!("99999999999")),
            ("exp", json!(1e99)),
            ("role", json!("god")),
            ("sub", json!(1)),
            ("aud", json!(7)),
            ("gen", json!(-1)),
        ];
        for (claim, value) in bad {
            let mut other = claims();
            other[claim] = value;
            assert_eq!(read(&signed(&header(), &other, &SECRET)), Err(BadAccessToken::NotOurs), "{claim}");
        }
    }

    #[test]
    fn no_bit_of_a_token_can_be_changed() {
        let token = token();
        for index in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(read(&changed), Err(BadAccessToken::NotOurs), "at {index}");
        }
    }

    #[test]
    fn rubbish_is_no_token() {
        let refresh = crate::secrets::RefreshToken::first(&crate::random::SystemRandom).unwrap().text();
        let long = format!("{}.a.b", "x".repeat(100_000));
        for rubbish in ["", ".", "..", "a.b.c", "....", &refresh, &long, "é.é.é"] {
            assert_eq!(read(rubbish), Err(BadAccessToken::NotOurs));
        }
    }

    #[test]
    fn keys_are_changed_without_signing_anybody_out() {
        let with = |keys: &str| tokens(Keys::parse(keys).unwrap(), "i", "a");
        let (before, during, after) = (
            with(&format!("old:{OLD}")),
            with(&format!("new:{NEW}, old:{OLD}")),
            with(&format!("new:{NEW}")),
        );
        let old = before.make(&access(), 1, now()).unwrap().0;
        let new = during.make(&access(), 1, now()).unwrap().0;
        assert!(during.read(&old, now()).is_ok() && during.read(&new, now()).is_ok());
        assert!(after.read(&new, now()).is_ok(), "the first one signs");
        assert_eq!(after.read(&old, now()), Err(BadAccessToken::NotOurs));
    }

    #[test]
    fn keys_that_cannot_be_used_are_refused_without_being_shown() {
        for (text, problem) in [
            ("", "no ':'"),
            ("abc", "no ':'"),
            (":AAAA", "its id"),
            ("a b:AAAA", "its id"),
            ("a:***", "not base64"),
            ("a:AAAA", "shorter"),
            (&format!("a:{OLD},"), "no ':'"),
            (&format!("a:{OLD},a:{NEW}"), "before"),
        ] {
            let error = Keys::parse(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
            assert!(!error.contains(OLD), "{error}");
        }
        assert_eq!(format!("{:?}", Keys::parse(&format!("a:{OLD}")).unwrap()), "Keys(1)");
    }
}
