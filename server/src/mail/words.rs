//! What letters say. Plain sentences; a secret only in the link, behind `#`, so that no server's log gets to see it.

use accounts::Letter;
use chrono::{DateTime, Utc};

/// A letter in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    /// Its subject.
    pub(super) subject: &'static str,
    /// What it says before its link.
    pub(super) before: Vec<String>,
    /// What to open, and what that does.
    pub(super) link: Option<(String, &'static str)>,
    /// What it says after its link.
    pub(super) after: Vec<String>,
}

const NOT_YOU: &str = "If this was not you, somebody knows your password. Choose another one at once:";
const IGNORE: &str = "If you did not ask for this, do nothing; nothing will happen.";

impl Words {
    /// The words of a letter, with links into the service at `url`.
    pub(super) fn of(letter: &Letter, url: &str) -> Self {
        let link = |path: &str, token: &str| format!("{url}/learn/{path}#token={token}");
        let forgot = || Some((format!("{url}/learn/forgot-password"), "Choose another password"));
        match letter {
            Letter::VerifyEmail { token, expires_at } => Self::new("Confirm your e-mail address")
                .say(format!("Please confirm that this is your address. The link works once, until {}.", until(*expires_at)))
                .open(link("verify-email", token), "Confirm the address")
                .then(IGNORE),
            Letter::AlreadyRegistered => Self::new("You have an account already")
                .say("Somebody, perhaps you, asked for an account with this address. There is one: sign in with it.")
                .say("If you do not remember your password, choose another one:")
                .link(forgot())
                .then(IGNORE),
            Letter::ResetPassword { token, expires_at } => Self::new("Choose another password")
                .say(format!("Choose another password here. The link works once, until {}.", until(*expires_at)))
                .open(link("reset-password", token), "Choose another password")
                .then("If you did not ask for this, do nothing; your password stays as it is."),
            Letter::Invitation { token, expires_at } => Self::new("You have an account")
                .say(format!(
                    "An account was made for you. Choose its password here; nobody else knows it. The link works once, until {}.",
                    until(*expires_at)
                ))
                .open(link("reset-password", token), "Choose a password")
                .then("If you do not know what this is, do nothing: without a password nobody signs in."),
            Letter::PasswordChanged { at } => Self::new("Your password was changed")
                .say(format!("Your password was changed on {}. All other devices have been signed out.", until(*at)))
                .say(NOT_YOU)
                .link(forgot()),
            Letter::ConfirmNewEmail { token, expires_at } => Self::new("Confirm your new e-mail address")
                .say(format!(
                    "Please confirm that you want to use this address from now on. The link works once, until {}.",
                    until(*expires_at)
                ))
                .open(link("verify-email", token), "Use this address")
                .then(IGNORE),
            Letter::EmailChangeRequested { new_email } => Self::new("Another e-mail address was asked for")
                .say(format!("Somebody who knows your password wants to use {new_email} for your account instead of this address."))
                .say(NOT_YOU)
                .link(forgot()),
            Letter::EmailChanged { new_email } => Self::new("Your e-mail address was changed")
                .say(format!("From now on your account has the address {new_email}, and letters go there."))
                .then("If this was not you, answer whoever runs this service at once."),
            Letter::NewDevice { device, at } => Self::new("A new device has signed in")
                .say(format!("Somebody signed in to your account on {}, from {}.", until(*at), device_in_words(device.as_deref())))
                .say(NOT_YOU)
                .link(forgot()),
            Letter::SecondFactorEnabled => Self::new("A second factor was set up")
                .say("From now on, signing in asks for a code of your authenticator app too. Keep the backup codes in a safe place.")
                .say(NOT_YOU)
                .link(forgot()),
            Letter::SecondFactorDisabled => Self::new("The second factor was removed")
                .say("From now on, signing in asks for your password only.")
                .say(NOT_YOU)
                .link(forgot()),
            Letter::BackupCodeUsed { left } => Self::new("A backup code was used")
                .say(format!("Somebody signed in to your account with one of your backup codes; {left} are left. Make new ones before they run out."))
                .say(NOT_YOU)
                .link(forgot()),
            Letter::SessionStolen { at } => Self::new("You have been signed out for your safety")
                .say(format!(
                    "On {}, a browser used a sign-in that another had used up already, so one of the two is not yours. Both have been signed out.",
                    until(*at)
                ))
                .say("Sign in again. If this happens more than once, choose another password:")
                .link(forgot()),
            Letter::IdentityLinked { provider } => Self::new("Another way to sign in was linked")
                .say(format!("From now on, you can sign in to your account with {provider}."))
                .say("If this was not you, unlink it in your account, and choose another password at once:")
                .link(forgot()),
            Letter::IdentityUnlinked { provider } => Self::new("A way to sign in was unlinked")
                .say(format!("Your account can no longer be signed in to with {provider}."))
                .say(NOT_YOU)
                .link(forgot()),
            Letter::AccountDeleted => Self::new("Your account was deleted")
                .say("Your account, its sessions and this address are deleted here. This is the last letter.")
                .then("If this was not you, answer whoever runs this service at once."),
        }
    }

    fn new(subject: &'static str) -> Self {
        Self { subject, before: Vec::new(), link: None, after: Vec::new() }
    }

    fn say(mut self, line: impl Into<String>) -> Self {
        self.before.push(line.into());
        self
    }

    fn open(self, link: String, label: &'static str) -> Self {
        self.link(Some((link, label)))
    }

    fn link(mut self, link: Option<(String, &'static str)>) -> Self {
        self.link = link;
        self
    }

    fn then(mut self, line: impl Into<String>) -> Self {
        self.after.push(line.into());
        self
    }
}

fn until(moment: DateTime<Utc>) -> String {
    moment.format("%-d %B %Y, %H:%M UTC").to_string()
}

/// What a browser calls itself is anybody's text, so no more of it is repeated than a name needs.
fn device_in_words(device: Option<&str>) -> String {
    let plain =
        |c: &char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '.' | '/' | '(' | ')' | ';' | '_' | '-');
    let name: String = device.unwrap_or_default().chars().filter(plain).take(120).collect();
    if name.is_empty() {
        "a device that does not say what it is".to_owned()
    } else {
        format!("a device that calls itself {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://membership.example.com";

    fn all() -> Vec<Letter> {
        let (token, at) = ("a-token".to_owned(), DateTime::UNIX_EPOCH);
        let new_email = "ada@new.example".to_owned();
        vec![
            Letter::VerifyEmail { token: token.clone(), expires_at: at },
            Letter::AlreadyRegistered,
            Letter::ResetPassword { token: token.clone(), expires_at: at },
            Letter::PasswordChanged { at },
            Letter::Invitation { token: token.clone(), expires_at: at },
            Letter::ConfirmNewEmail { token, expires_at: at },
            Letter::EmailChangeRequested { new_email: new_email.clone() },
            Letter::EmailChanged { new_email },
            Letter::NewDevice { device: Some("Firefox".to_owned()), at },
            Letter::SecondFactorEnabled,
            Letter::SecondFactorDisabled,
            Letter::BackupCodeUsed { left: 3 },
            Letter::SessionStolen { at },
            Letter::IdentityLinked { provider: "google".to_owned() },
            Letter::IdentityUnlinked { provider: "google".to_owned() },
            Letter::AccountDeleted,
        ]
    }

    #[test]
    fn every_letter_says_something_of_its_own_and_what_to_do() {
        let mut subjects: Vec<_> = all().iter().map(|letter| Words::of(letter, URL).subject).collect();
        subjects.sort_unstable();
        subjects.dedup();
        assert_eq!(subjects.len(), all().len());
        for letter in all() {
            let words = Words::of(&letter, URL);
            assert!(!words.before.is_empty(), "{letter:?}");
            assert!(words.link.is_some() || !words.after.is_empty(), "{letter:?}");
        }
    }

    #[test]
    fn a_secret_is_in_the_fragment_of_a_link_and_nowhere_else() {
        let mut secrets = 0;
        for letter in all() {
            let Words { before, link, after, .. } = Words::of(&letter, URL);
            assert!(!before.iter().chain(&after).any(|line| line.contains("a-token")), "{letter:?}");
            let Some((link, _)) = link else { continue };
            assert!(link.starts_with(&format!("{URL}/learn/")), "{link}");
            if let Some((page, fragment)) = link.split_once('#') {
                assert!(fragment == "token=a-token" && !page.contains("a-token"), "{link}");
                secrets += 1;
            }
        }
        assert_eq!(secrets, 4);
    }

    #[test]
    fn what_a_browser_calls_itself_cannot_be_a_message_with_links() {
        let words = device_in_words(Some("Win 5000! https://evil.example <a href=x>\r\nBcc"));
        assert!(
            !words.contains(':') && !words.contains('<') && !words.contains('\n') && words.len() < 160,
            "{words}"
        );
    }
}
