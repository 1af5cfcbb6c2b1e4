//! Secrets that are handed out, and what is kept of them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::ports::StoreError;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::random::Random;
use crate::store::Hash;

/// Longer texts are no secrets of ours and are not worth hashing.
const LONGEST: usize = 200;

/// A new secret of 256 bits, as text.
pub(crate) fn secret(random: &dyn Random) -> Result<String, StoreError> {
    Ok(URL_SAFE_NO_PAD.encode(bytes::<32>(random)?))
}

pub(crate) fn bytes<const N: usize>(random: &dyn Random) -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    random.fill(&mut bytes)?;
    Ok(bytes)
}

/// What is kept of a secret. It is long enough for a plain hash: nobody can try all of them.
pub(crate) fn hash(secret: &str) -> Hash {
    if secret.len() > LONGEST { [0; 32] } else { Sha256::digest(secret.as_bytes()).into() }
}

/// How long a proof is as text.
pub(crate) const PROOF: usize = 43;

/// What shows that a browser asked for the letter with the token of this hash. It tells nothing of the token.
pub(crate) fn proof(token: &Hash) -> String {
    let proof = Sha256::new().chain_update(b"asked for in this browser ").chain_update(token).finalize();
    URL_SAFE_NO_PAD.encode(proof)
}

/// A refresh token: one half says which family it belongs to and stays, the other is good once. Both are secret.
#[derive(Clone, Copy)]
pub(crate) struct RefreshToken {
    handle: [u8; 16],
    secret: [u8; 32],
}

impl RefreshToken {
    /// The first of a family.
    pub(crate) fn first(random: &dyn Random) -> Result<Self, StoreError> {
        Ok(Self { handle: bytes(random)?, secret: bytes(random)? })
    }

    /// Reads a token that came from outside.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 48] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (handle, secret) = bytes.split_at(16);
        Some(Self { handle: handle.try_into().ok()?, secret: secret.try_into().ok()? })
    }

    /// The one that follows, made with `salt`. Whoever has the token and not the salt cannot tell it, nor whoever has the salt
    /// and not the token; the service, which keeps the salt, can make the same one again for the same token.
    pub(crate) fn next(&self, salt: &[u8; 32]) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(salt).expect("a key may have any length");
        mac.update(&self.secret);
        Self { handle: self.handle, secret: mac.finalize().into_bytes().into() }
    }

    /// By what its family is known.
    pub(crate) fn family(&self) -> Hash {
        Sha256::digest(self.handle).into()
    }

    /// By what it is known within the family.
    pub(crate) fn hash(&self) -> Hash {
        Sha256::digest(self.secret).into()
    }

    /// The token as the cookie holds it.
    pub(crate) fn text(&self) -> String {
        let mut bytes = [0; 48];
        bytes[..16].copy_from_slice(&self.handle);
        bytes[16..].copy_from_slice(&self.secret);
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

/// Whether two hashes are the same, in a time that does not tell how much of them is.
pub(crate) fn same(one: &Hash, other: &Hash) -> bool {
    one.ct_eq(other).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn a_refresh_token_reads_back_and_its_next_one_is_of_the_same_family() {
        let first = RefreshToken::first(&SystemRandom).unwrap();
        let read = RefreshToken::parse(&first.text()).unwrap();
        assert_eq!((read.family(), read.hash()), (first.family(), first.hash()));
        let next = read.next(&[7; 32]);
        assert_eq!(next.family(), first.family());
        assert_ne!(next.hash(), first.hash());
        assert_eq!(next.text(), first.next(&[7; 32]).text(), "the same again");
        assert_ne!(next.text(), first.next(&[8; 32]).text(), "not without the salt");
    }

    #[test]
    fn what_is_no_refresh_token_is_none() {
        let token = RefreshToken::first(&SystemRandom).unwrap().text();
        assert_eq!(token.len(), 64);
        for bad in ["", "x", &token[1..], &format!("{token}A"), &token.replace(&token[..1], "*")] {
            assert!(RefreshToken::parse(bad).is_none(), "{bad}");
        }
    }
}
