//! Passwords: which may be chosen, and how they are hashed and compared without taking the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use domain::ports::StoreError;
use metrics::counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::error::{AccountError, PasswordRefusal};
use crate::random::Random;
use crate::secrets::bytes;

const SHORTEST: usize = 8;
const LONGEST: usize = 128;
/// How many may wait for their turn. More are told so at once, so that half of the room for requests is left to others.
const WAITING: usize = 32;

/// The most common ones of at least eight characters, in small letters, sorted by bytes.
const COMMON: &str = include_str!("../data/common-passwords.txt");

/// A password as it is hashed: the same letters typed on another machine are the same bytes.
pub(crate) struct Password(Zeroizing<String>);

impl Password {
    /// What somebody typed; none when no password can be so long.
    pub(crate) fn typed(text: &str) -> Option<Self> {
        (text.chars().count() <= LONGEST).then(|| Self(Zeroizing::new(text.nfkc().collect())))
    }

    /// What somebody wants for a password, unless it cannot be one.
    pub(crate) fn chosen(text: &str, email: &str, service: &str) -> Result<Self, PasswordRefusal> {
        let password = Self::typed(text).ok_or(PasswordRefusal::TooLong)?;
        if password.0.chars().count() < SHORTEST {
            return Err(PasswordRefusal::TooShort);
        }
        let lower = Zeroizing::new(password.0.to_lowercase());
        if is_common(&lower) {
            return Err(PasswordRefusal::Common);
        }
        let email = email.to_lowercase();
        let name = email.split('@').next().unwrap_or_default();
        if [email.as_str(), name, &service.to_lowercase()].contains(&lower.trim()) {
            return Err(PasswordRefusal::Obvious);
        }
        Ok(password)
    }
}

/// Whether it is on the list. The text is searched as it is: it needs no memory of its own.
fn is_common(lower: &str) -> bool {
    let (mut from, mut to) = (0, COMMON.len());
    while from < to {
        let middle = from + (to - from) / 2;
        let begin = COMMON[..floor(middle)].rfind('\n').map_or(0, |newline| newline + 1);
        let end = COMMON[begin..].find('\n').map_or(COMMON.len(), |newline| begin + newline);
        match COMMON[begin..end].cmp(lower) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => from = end + 1,
            std::cmp::Ordering::Greater => to = begin,
        }
    }
    false
}

/// The nearest place at or before `index` where a character begins.
fn floor(index: usize) -> usize {
    (0..=index).rev().find(|index| COMMON.is_char_boundary(*index)).unwrap_or_default()
}

/// Hashes passwords, as many at once as there are cores.
pub(crate) struct Hasher {
    argon: Argon2<'static>,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// The hash of no password, for when there is none to compare with.
    dummy: String,
}

/// Somebody's turn to hash.
pub(crate) struct Turn<'a> {
    hasher: &'a Hasher,
    permit: OwnedSemaphorePermit,
}

impl Hasher {
    /// With this memory in KiB, rounds and lanes.
    pub(crate) fn new((memory, rounds, lanes): (u32, u32, u32)) -> Self {
        let params = Params::new(memory, rounds, lanes, None).unwrap_or_default();
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let dummy = argon.hash_password_with_salt(b"no password at all", &[0; 16]);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            argon,
            turns: Arc::new(Semaphore::new(cores)),
            waiting: AtomicUsize::new(0),
            dummy: dummy.map(|hash| hash.to_string()).unwrap_or_default(),
        }
    }

    /// Waits for a turn, unless too many wait already.
    pub(crate) async fn turn(&self) -> Result<Turn<'_>, AccountError> {
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= WAITING {
            return Err(AccountError::Busy);
        }
        let permit = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| AccountError::Busy)?;
        Ok(Turn { hasher: self, permit })
    }
}

/// Tells how much work passwords are: it has to be the same whether an address is known or not.
fn count(what: &'static str) {
    counter!("membership_password_hashes_total", "for" => what).increment(1);
}

/// What a comparison found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compared {
    /// Another password, or none.
    Wrong,
    /// The right one.
    Right,
    /// The right one, hashed in a way that is not used any more.
    RightAndOutdated,
}

impl Turn<'_> {
    /// The hash of a password, in PHC form.
    pub(crate) async fn hash(&self, password: Password, random: &dyn Random) -> Result<String, AccountError> {
        count("chosen");
        let (argon, salt) = (self.hasher.argon.clone(), bytes::<16>(random)?);
        let hashed = spawn_blocking(move || {
            argon.hash_password_with_salt(password.0.as_bytes(), &salt).map(|hash| hash.to_string())
        });
        let failed = |why: String| StoreError::Unavailable(format!("a password could not be hashed: {why}"));
        let hashed = hashed.await.map_err(|why| failed(why.to_string()))?;
        Ok(hashed.map_err(|why| failed(why.to_string()))?)
    }

    /// Whether a password is the one that was hashed. Takes as long where there is none.
    pub(crate) async fn compare(
        &self,
        password: Option<Password>,
        hash: Option<&str>,
    ) -> Result<(Compared, Option<Password>), AccountError> {
        count("compared");
        let there = password.is_some() && hash.is_some();
        let (argon, hash) = (self.hasher.argon.clone(), hash.unwrap_or(&self.hasher.dummy).to_owned());
        let compared = spawn_blocking(move || {
            let typed = password.as_ref().map_or("", |password| &password.0);
            let Ok(held) = PasswordHash::new(&hash) else { return (Compared::Wrong, password) };
            let same = argon.verify_password(typed.as_bytes(), &held).is_ok();
            let usual = Params::try_from(&held).is_ok_and(|held| {
                let params = argon.params();
                (held.m_cost(), held.t_cost(), held.p_cost())
                    == (params.m_cost(), params.t_cost(), params.p_cost())
            });
            let compared = match (there && same, usual) {
                (false, _) => Compared::Wrong,
                (true, true) => Compared::Right,
                (true, false) => Compared::RightAndOutdated,
            };
            (compared, password)
        });
        let failed = |why: tokio::task::JoinError| StoreError::Unavailable(why.to_string());
        Ok(compared.await.map_err(failed)?)
    }

    /// Lets others have their turn.
    pub(crate) fn end(self) {
        drop(self.permit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    fn chosen(text: &str) -> Result<(), PasswordRefusal> {
        Password::chosen(text, "Grace.Hopper@example.com", "Membership").map(|_| ())
    }

    #[test]
    fn a_password_has_8_to_128_characters_of_any_script() {
        assert_eq!(chosen("1234567"), Err(PasswordRefusal::TooShort));
        assert_eq!(chosen("ключ от дома"), Ok(()));
        assert_eq!(chosen("🦀🐙🦑🐡🦐🐟🐬🐳"), Ok(()));
        assert_eq!(chosen("ключик🦀"), Err(PasswordRefusal::TooShort), "characters, not bytes");
        let long: String = (0..128).map(|number| char::from(b'a' + number % 26)).collect();
        assert_eq!(chosen(&long), Ok(()));
        assert_eq!(chosen(&format!("{long}x")), Err(PasswordRefusal::TooLong));
    }

    #[test]
    fn common_passwords_are_refused_however_they_are_written() {
        let common: Vec<&str> = COMMON.lines().collect();
        assert!(common.len() >= 3_000 && common.is_sorted(), "{}", common.len());
        for password in &common {
            assert_eq!(chosen(password), Err(PasswordRefusal::Common), "{password}");
        }
        assert_eq!(chosen("PassWord123"), Err(PasswordRefusal::Common));
        assert_eq!(chosen("correct horse battery staple"), Ok(()));
    }

    #[test]
    fn what_everybody_knows_is_no_password() {
        for obvious in ["grace.hopper@example.com", "GRACE.HOPPER", "membership"] {
            assert_eq!(chosen(obvious), Err(PasswordRefusal::Obvious), "{obvious}");
        }
    }

    #[tokio::test]
    async fn the_same_letters_typed_on_another_machine_are_the_same_password() {
        let hasher = Hasher::new((64, 1, 1));
        let turn = hasher.turn().await.unwrap();
        let hash = turn.hash(Password::typed("pa\u{308}sswort").unwrap(), &SystemRandom).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
        let compare = async |text| turn.compare(Password::typed(text), Some(&hash)).await.unwrap().0;
        assert_eq!(compare("p\u{e4}sswort").await, Compared::Right);
        assert_eq!(compare("passwort").await, Compared::Wrong);
        assert_eq!(compare("").await, Compared::Wrong);
    }

    #[tokio::test]
    async fn nothing_is_the_password_of_nobody() {
        let hasher = Hasher::new((64, 1, 1));
        let turn = hasher.turn().await.unwrap();
        let compare = async |text, hash| turn.compare(Password::typed(text), hash).await.unwrap().0;
        assert_eq!(compare("no password at all", None).await, Compared::Wrong);
        assert_eq!(compare("anything", Some("not a hash")).await, Compared::Wrong);
    }

    #[tokio::test]
    async fn a_hash_made_in_another_way_is_told() {
        let (weak, strong) = (Hasher::new((64, 1, 1)), Hasher::new((128, 1, 1)));
        let password = || Password::typed("correct horse");
        let hash = weak.turn().await.unwrap().hash(password().unwrap(), &SystemRandom).await.unwrap();
        let turn = strong.turn().await.unwrap();
        assert_eq!(turn.compare(password(), Some(&hash)).await.unwrap().0, Compared::RightAndOutdated);
    }

    #[tokio::test]
    async fn who_would_wait_too_long_is_told_at_once() {
        let hasher = Hasher::new((64, 1, 1));
        let cores = hasher.turns.available_permits();
        let mut turns = Vec::new();
        for _ in 0..cores {
            turns.push(hasher.turn().await.unwrap());
        }
        let mut waiting: Vec<_> = (0..WAITING).map(|_| Box::pin(hasher.turn())).collect();
        for one in &mut waiting {
            assert!(futures_poll(one.as_mut()).await.is_none());
        }
        assert!(matches!(hasher.turn().await, Err(AccountError::Busy)));
        drop(waiting);
        turns.pop().unwrap().end();
        assert!(hasher.turn().await.is_ok());
    }

    /// Polls once.
    async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match future.as_mut().poll(context) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
