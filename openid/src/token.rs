//! What is believed of a signed token (OpenID Connect Core, 3.1.3.7).
//!
//! Only signatures with a public key count, whatever the token says of itself: `none` is no algorithm, and one with a shared
//! secret would make the provider's public key, which everybody has, the secret.

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::Value;

const BELIEVED: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
/// How far a provider's clock may be from ours, in seconds.
const LEEWAY: i64 = 60;
/// Longer texts are not worth reading.
const LONGEST: usize = 64 * 1024;
/// As long as the standard lets a subject be.
const LONGEST_SUBJECT: usize = 255;

/// What a token has to say.
#[derive(Clone, Copy)]
pub(crate) struct Expected<'e> {
    pub(crate) issuer: &'e str,
    pub(crate) client_id: &'e str,
    pub(crate) nonce: &'e str,
    /// Seconds since 1970.
    pub(crate) now: i64,
}

/// What it says of somebody.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) subject: String,
    pub(crate) email: Option<String>,
    pub(crate) email_verified: bool,
}

/// Why it is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// None of these keys is the one that it names.
    UnknownKey,
    /// None of them signed it.
    WrongSignature,
    /// This.
    Bad(&'static str),
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    azp: Option<String>,
    exp: i64,
    iat: i64,
    nbf: Option<i64>,
    nonce: Option<String>,
    email: Option<String>,
    email_verified: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// Whether an address counts as confirmed. Some providers write the word for it.
pub(crate) fn is_true(claim: Option<&Value>) -> bool {
    claim.is_some_and(|claim| *claim == Value::Bool(true) || *claim == "true")
}

/// What a token says, if it is one of this provider for this service and this very request.
pub(crate) fn read(token: &str, keys: &[Jwk], expected: Expected<'_>) -> Result<Told, Doubt> {
    use Doubt::Bad;

    if token.len() > LONGEST {
        return Err(Bad("its token is too long"));
    }
    let header = decode_header(token).map_err(|_| Bad("its token cannot be read"))?;
    if !BELIEVED.contains(&header.alg) {
        return Err(Bad("its token is signed in a way that anybody could sign"));
    }
    let fits = |key: &&Jwk| {
        let named = header.kid.is_none() || key.common.key_id == header.kid;
        let signs = !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption));
        let alg = key.common.key_algorithm.is_none_or(|alg| alg == header.alg.into());
        named && signs && alg && !matches!(key.algorithm, AlgorithmParameters::OctetKey(_))
    };
    let mut validation = Validation::new(header.alg);
    // The crate asks the machine's clock; the service has its own, and all claims are compared below.
    (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
    validation.required_spec_claims.clear();
    let mut keys = keys.iter().filter(fits).filter_map(|key| DecodingKey::from_jwk(key).ok()).peekable();
    if keys.peek().is_none() {
        return Err(Doubt::UnknownKey);
    }
    let claims = keys.find_map(|key| decode::<Value>(token, &key, &validation).ok());
    let claims = claims.ok_or(Doubt::WrongSignature)?.claims;
    let claims: Claims = serde_json::from_value(claims)
        .map_err(|_| Bad("its token lacks a claim that the standard asks for"))?;
    check(claims, expected)
}

fn check(claims: Claims, expected: Expected<'_>) -> Result<Told, Doubt> {
    let Expected { issuer, client_id, nonce, now } = expected;
    let is_for_us = match &claims.aud {
        Audience::One(audience) => audience == client_id,
        // Whom it was made for has to be said where it is for several.
        Audience::Several(all) => {
            all.iter().any(|audience| audience == client_id) && (all.len() == 1 || claims.azp.is_some())
        }
    };
    let doubts = [
        (claims.iss != issuer, "its token is of another issuer"),
        (!is_for_us || claims.azp.is_some_and(|azp| azp != client_id), "its token is for somebody else"),
        (claims.nonce.as_deref() != Some(nonce), "its token was made for another request"),
        (now >= claims.exp.saturating_add(LEEWAY), "its token has expired"),
        (
            claims.iat.max(claims.nbf.unwrap_or(claims.iat)) > now.saturating_add(LEEWAY),
            "its token is of the future",
        ),
        (
            claims.sub.is_empty() || claims.sub.len() > LONGEST_SUBJECT || claims.sub.contains('\0'),
            "its token names nobody",
        ),
    ];
    if let Some((_, why)) = doubts.into_iter().find(|(doubt, _)| *doubt) {
        return Err(Doubt::Bad(why));
    }
    let email_verified = is_true(claims.email_verified.as_ref());
    Ok(Told { subject: claims.sub, email: claims.email, email_verified })
}

#[cfg(test)]
pub(crate) mod tests {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::KeyPair as _;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use hmac::{Hmac, KeyInit, Mac};
    use jsonwebtoken::jwk::KeyAlgorithm;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const EXPECTED: Expected<'static> =
        Expected { issuer: "https://id.example", client_id: "membership", nonce: "n-1", now: NOW };

    /// A key pair of a provider.
    pub(crate) struct Pair {
        signs: EncodingKey,
        pub(crate) public: Jwk,
        public_der: Vec<u8>,
    }

    pub(crate) fn pair(kid: &str) -> Pair {
        let made = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&made).unwrap();
        // The key itself (PKCS #1) is behind what says that it is one (PKCS #8).
        let signs = EncodingKey::from_rsa_der(&der.as_ref()[26..]);
        let mut public = Jwk::from_encoding_key(&signs, Algorithm::RS256).unwrap();
        public.common.key_id = Some(kid.to_owned());
        Pair { signs, public, public_der: made.public_key().as_ref().to_vec() }
    }

    fn claims() -> Value {
        json!({ "iss": "https://id.example", "sub": "4711", "aud": "membership", "exp": NOW + 300, "iat": NOW - 1,
            "nonce": "n-1", "email": "ada@example.com", "email_verified": true })
    }

    fn header(kid: &str) -> Header {
        Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::RS256) }
    }

    /// A token of this provider, signed with its key `one`.
    pub(crate) fn signed(pair: &Pair, claims: &Value) -> String {
        encode(&header("one"), claims, &pair.signs).unwrap()
    }

    fn part(value: &Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    #[test]
    fn a_token_of_the_provider_for_this_request_is_believed_and_one_claim_that_is_another_makes_it_none() {
        let pair = pair("one");
        let keys = [pair.public.clone()];
        let ask = |claims: &Value| read(&signed(&pair, claims), &keys, EXPECTED);
        let told = Told {
            subject: "4711".to_owned(),
            email: Some("ada@example.com".to_owned()),
            email_verified: true,
        };
        assert_eq!(ask(&claims()).as_ref(), Ok(&told), "what the attacks begin with is a good token");
        let good = [
            ("aud", json!(["membership"])),
            ("exp", json!(NOW - 59)),
            ("iat", json!(NOW + 60)),
            ("email_verified", json!("true")),
        ];
        for (claim, value) in good {
            let mut other = claims();
            other[claim] = value;
            assert_eq!(ask(&other).as_ref(), Ok(&told), "{claim}");
        }
        let mut ours_among_others = claims();
        ours_among_others["aud"] = json!(["membership", "shop"]);
        ours_among_others["azp"] = json!("membership");
        assert_eq!(ask(&ours_among_others), Ok(told));
        let bad = [
            ("iss", json!("https://evil.example"), "another issuer"),
            ("iss", json!("https://id.example/"), "another issuer"),
            ("aud", json!("shop"), "somebody else"),
            ("aud", json!([]), "somebody else"),
            ("aud", json!(["membership", "shop"]), "somebody else"),
            ("azp", json!("shop"), "somebody else"),
            ("nonce", json!("n-2"), "another request"),
            ("nonce", Value::Null, "another request"),
            ("exp", json!(NOW - 60), "expired"),
            ("iat", json!(NOW + 61), "future"),
            ("nbf", json!(NOW + 61), "future"),
            ("sub", json!(""), "nobody"),
            ("sub", json!("x".repeat(256)), "nobody"),
            ("exp", json!("99999999999"), "lacks"),
            ("sub", Value::Null, "lacks"),
        ];
        for (claim, value, why) in bad {
            let mut other = claims();
            other[claim] = value.clone();
            let Err(Doubt::Bad(told)) = ask(&other) else { panic!("{claim} {value} is believed") };
            assert!(told.contains(why), "{claim} {value}: {told}");
        }
        for claim in ["iss", "sub", "aud", "exp", "iat", "nonce"] {
            let mut without = claims();
            without.as_object_mut().unwrap().remove(claim);
            assert!(matches!(ask(&without), Err(Doubt::Bad(_))), "{claim}");
        }
        for unverified in [json!(false), json!("false"), json!(1), Value::Null] {
            let mut other = claims();
            other["email_verified"] = unverified;
            assert!(!ask(&other).unwrap().email_verified);
        }
    }

    #[test]
    fn what_anybody_could_sign_is_not_believed() {
        let pair = pair("one");
        let keys = [pair.public.clone()];
        let is_refused = |token: &str| {
            assert!(matches!(read(token, &keys, EXPECTED), Err(Doubt::Bad(_))), "{token}");
        };
        for none in ["none", "None", "NONE", "nOnE", ""] {
            let header = json!({ "alg": none, "typ": "JWT", "kid": "one" });
            is_refused(&format!("{}.{}.", part(&header), part(&claims())));
        }
        // The public key as a secret, in all its forms.
        let AlgorithmParameters::RSA(rsa) = &pair.public.algorithm else { panic!("it is an RSA key") };
        let secrets =
            [pair.public_der.clone(), rsa.n.clone().into_bytes(), URL_SAFE_NO_PAD.decode(&rsa.n).unwrap()];
        for secret in secrets {
            let header = json!({ "alg": "HS256", "typ": "JWT", "kid": "one" });
            let said = format!("{}.{}", part(&header), part(&claims()));
            let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&secret).unwrap();
            mac.update(said.as_bytes());
            let forged = format!("{said}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
            // Whoever took the token's own word for how it is signed would take it.
            let mut trusting = Validation::new(Algorithm::HS256);
            (trusting.validate_exp, trusting.validate_aud) = (false, false);
            assert!(decode::<Value>(&forged, &DecodingKey::from_secret(&secret), &trusting).is_ok());
            is_refused(&forged);
        }
    }

    #[test]
    fn only_keys_of_the_provider_that_sign_count() {
        let (ours, others) = (pair("one"), pair("one"));
        let token = signed(&ours, &claims());
        let ask = |keys: &[Jwk]| read(&token, keys, EXPECTED);
        assert!(ask(&[others.public.clone(), ours.public.clone()]).is_ok(), "two keys of one name");
        assert_eq!(ask(std::slice::from_ref(&others.public)), Err(Doubt::WrongSignature));
        assert_eq!(ask(&[]), Err(Doubt::UnknownKey));
        let mut renamed = ours.public.clone();
        renamed.common.key_id = Some("two".to_owned());
        assert_eq!(ask(&[renamed]), Err(Doubt::UnknownKey));
        let mut encrypts = ours.public.clone();
        encrypts.common.public_key_use = Some(PublicKeyUse::Encryption);
        assert_eq!(ask(&[encrypts]), Err(Doubt::UnknownKey));
        let mut other_algorithm = ours.public.clone();
        other_algorithm.common.key_algorithm = Some(KeyAlgorithm::RS512);
        assert_eq!(ask(&[other_algorithm]), Err(Doubt::UnknownKey));
        let mut nameless = header("one");
        nameless.kid = None;
        let token = encode(&nameless, &claims(), &ours.signs).unwrap();
        assert!(
            read(&token, &[others.public, ours.public], EXPECTED).is_ok(),
            "a key without a name is looked for"
        );
    }

    #[test]
    fn a_token_cannot_bring_its_own_key_and_rubbish_is_none() {
        let (ours, evil) = (pair("one"), pair("one"));
        let header = Header {
            jwk: Some(evil.public.clone()),
            jku: Some("https://evil.example".to_owned()),
            ..header("one")
        };
        let token = encode(&header, &claims(), &evil.signs).unwrap();
        let keys = [ours.public.clone()];
        assert_eq!(read(&token, &keys, EXPECTED), Err(Doubt::WrongSignature));
        let good = signed(&ours, &claims());
        let cut = &good[..good.len() - 4];
        for rubbish in ["", "a.b.c", "..", cut, &"x".repeat(LONGEST + 1)] {
            assert!(matches!(read(rubbish, &keys, EXPECTED), Err(Doubt::Bad(_) | Doubt::WrongSignature)));
        }
    }
}
