//! Letters: what they say, and how they are sent. They go out behind the answer that they belong to, so that an answer
//! tells by neither its time nor its words whether there is somebody to write to.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use lettre::address::AddressError;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::{AsyncFileTransport, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use metrics::counter;
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::config::{Carrier, MailSettings};

/// How many letters wait at once; more are not written, and whoever waits for one asks again.
const WAITING: usize = 1_000;
/// How many are handed over at once.
const AT_ONCE: usize = 4;
/// How long a mail server may take for one.
const PATIENCE: Duration = Duration::from_secs(30);
/// When one that was not taken is offered again. What it says is good for about as long.
const AGAIN: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(5),
];

/// What a letter says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    /// Who it is for.
    pub(crate) to: String,
    /// Its subject.
    pub(crate) subject: &'static str,
    /// What it says before its link.
    pub(crate) before: Vec<String>,
    /// What to open, and what that does.
    pub(crate) link: Option<(String, &'static str)>,
    /// What it says after its link.
    pub(crate) after: Vec<String>,
}

#[derive(Template)]
#[template(path = "letter.txt", escape = "none")]
struct Text<'l> {
    before: &'l [String],
    link: Option<&'l str>,
    after: &'l [String],
    service: &'l str,
}

#[derive(Template)]
#[template(path = "letter.html")]
struct Html<'l> {
    subject: &'l str,
    before: &'l [String],
    link: Option<&'l str>,
    label: &'l str,
    after: &'l [String],
    service: &'l str,
}

#[derive(Debug, Error)]
enum Unwritten {
    #[error("its address cannot be written to: {0}")]
    Address(#[from] AddressError),
    #[error(transparent)]
    Words(#[from] askama::Error),
    #[error(transparent)]
    Message(#[from] lettre::error::Error),
}

impl Letter {
    fn message(&self, from: &Mailbox, service: &str) -> Result<Message, Unwritten> {
        let Self { to, subject, before, link, after } = self;
        let (link, label) = link.as_ref().map(|(link, label)| (link.as_str(), *label)).unzip();
        let text = Text { before, link, after, service }.render()?;
        let html =
            Html { subject, before, link, label: label.unwrap_or_default(), after, service }.render()?;
        // Nobody's holiday answer has to come back.
        let automatic =
            HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
        let message = Message::builder()
            .from(from.clone())
            .to(Mailbox::new(None, to.parse()?))
            .subject(*subject)
            .raw_header(automatic)
            .multipart(MultiPart::alternative_plain_html(text, html))?;
        Ok(message)
    }
}

/// Where letters are put; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Postbox(mpsc::Sender<Letter>);

impl Postbox {
    /// Puts a letter in, which never waits.
    pub(crate) fn put(&self, letter: Letter) {
        if self.0.try_send(letter).is_err() {
            count("dropped");
            tracing::error!("a letter was not written: {WAITING} are waiting already");
        }
    }
}

/// Takes letters from a [`Postbox`] to where they are sent.
pub(crate) struct Post {
    waiting: mpsc::Receiver<Letter>,
    carrier: Arc<Transport>,
    from: Mailbox,
    service: String,
}

enum Transport {
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    Folder(AsyncFileTransport<Tokio1Executor>),
    Stderr,
}

/// Why a letter was not taken.
#[derive(Debug, Error)]
enum Refused {
    #[error("{0}")]
    ForGood(String),
    #[error("{0}")]
    ForNow(String),
}

/// Whether letters could be sent to this URL, as far as one can tell without doing it.
pub(crate) fn can_be_used(url: &str) -> bool {
    AsyncSmtpTransport::<Tokio1Executor>::from_url(url).is_ok()
}

/// A box to put letters into, and what empties it. `service` is how this service calls itself at the end of a letter.
pub(crate) fn post(
    settings: &MailSettings,
    service: &str,
) -> Result<(Postbox, Post), lettre::transport::smtp::Error> {
    let carrier = match &settings.carrier {
        Carrier::Smtp(url) => Transport::Smtp(
            AsyncSmtpTransport::<Tokio1Executor>::from_url(url)?.timeout(Some(PATIENCE)).build(),
        ),
        Carrier::Folder(folder) => Transport::Folder(AsyncFileTransport::new::<&Path>(folder)),
        Carrier::Stderr => Transport::Stderr,
    };
    let (sender, waiting) = mpsc::channel(WAITING);
    let post = Post {
        waiting,
        carrier: Arc::new(carrier),
        from: settings.from.clone(),
        service: service.to_owned(),
    };
    Ok((Postbox(sender), post))
}

impl Post {
    /// Sends what comes, until nobody can put anything in any more.
    pub(crate) async fn run(mut self) {
        let (room, mut sending) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
        while let Some(letter) = self.waiting.recv().await {
            while sending.try_join_next().is_some() {}
            let message = match letter.message(&self.from, &self.service) {
                Ok(message) => message,
                Err(error) => {
                    count("failed");
                    tracing::error!(%error, subject = letter.subject, "a letter was not written");
                    continue;
                }
            };
            sending.spawn(send(self.carrier.clone(), room.clone(), letter, message));
        }
        sending.join_all().await;
    }
}

/// Offers a letter until it is taken, refused for good, or too old. Nothing that is logged says whose it is.
async fn send(carrier: Arc<Transport>, room: Arc<Semaphore>, letter: Letter, message: Message) {
    let subject = letter.subject;
    for pause in AGAIN.into_iter().map(Some).chain([None]) {
        let offered = async {
            let _place = room.acquire().await;
            timeout(PATIENCE * 2, offer(&carrier, &letter, &message)).await
        };
        let refused = match offered.await {
            Ok(Ok(())) => return count("sent"),
            Ok(Err(Refused::ForGood(why))) => {
                count("failed");
                return tracing::error!(why, subject, "a letter was refused");
            }
            Ok(Err(Refused::ForNow(why))) => why,
            Err(_) => "the mail server did not answer in time".to_owned(),
        };
        let Some(pause) = pause else {
            count("failed");
            return tracing::error!(why = refused, subject, "a letter was given up");
        };
        tracing::warn!(why = refused, subject, again_in = ?pause, "a letter was not taken");
        sleep(pause).await;
    }
}

async fn offer(carrier: &Transport, letter: &Letter, message: &Message) -> Result<(), Refused> {
    match carrier {
        Transport::Smtp(server) => match server.send(message.clone()).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() => Err(Refused::ForGood(without_addresses(&error))),
            Err(error) => Err(Refused::ForNow(without_addresses(&error))),
        },
        Transport::Folder(folder) => match folder.send(message.clone()).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Refused::ForNow(error.to_string())),
        },
        Transport::Stderr => {
            show(letter);
            Ok(())
        }
    }
}

/// What a mail server answers often repeats the address, so only its code is told.
fn without_addresses(error: &lettre::transport::smtp::Error) -> String {
    let code = error.status().map(|code| format!("the mail server answered {code}"));
    code.unwrap_or_else(|| {
        if error.is_timeout() { "no answer in time" } else { "the mail server cannot be reached" }.to_owned()
    })
}

#[expect(clippy::print_stderr, reason = "this is how the demo's letters reach whoever tries it")]
fn show(letter: &Letter) {
    let Letter { to, subject, before, link, .. } = letter;
    let link = link.as_ref().map(|(link, _)| format!("\n    {link}")).unwrap_or_default();
    eprintln!("\n  A letter to {to}: {subject}\n    {}{link}\n", before.join("\n    "));
}

fn count(outcome: &'static str) {
    counter!("membership_letters_total", "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(to: &str) -> Letter {
        Letter {
            to: to.to_owned(),
            subject: "Confirm your e-mail address",
            before: vec!["Hello <b>Ada</b>.".to_owned()],
            link: Some(("https://membership.example.com/x#token=t&u=1".to_owned(), "Confirm")),
            after: vec!["Goodbye.".to_owned()],
        }
    }

    fn settings(carrier: Carrier) -> MailSettings {
        MailSettings { carrier, from: "Membership <no-reply@example.com>".parse().unwrap() }
    }

    #[test]
    fn a_letter_says_the_same_in_text_and_in_html_and_nothing_in_it_is_markup() {
        let letter = letter("ada@example.com");
        let link = letter.link.as_ref().map(|(link, _)| link.as_str());
        let text =
            Text { before: &letter.before, link, after: &letter.after, service: "s" }.render().unwrap();
        assert_eq!(
            text,
            "Hello <b>Ada</b>.\n\nhttps://membership.example.com/x#token=t&u=1\n\nGoodbye.\n\n--\ns"
        );
        let (subject, label) = (letter.subject, "Confirm");
        let html = Html { subject, before: &letter.before, link, label, after: &letter.after, service: "s" };
        let html = html.render().unwrap();
        assert!(
            !html.contains("<b>")
                && html.contains("href=\"https://membership.example.com/x#token=t&#38;u=1\""),
            "{html}"
        );
    }

    #[test]
    fn an_address_cannot_add_lines_or_addresses() {
        let from = settings(Carrier::Stderr).from;
        for to in [
            "ada@example.com\r\nBcc: eve@evil.example",
            "ada@example.com, eve@evil.example",
            "Ada <ada@example.com>",
            "",
        ] {
            assert!(letter(to).message(&from, "s").is_err(), "{to:?}");
        }
        assert!(letter("ada@example.com").message(&from, "s").is_ok());
    }

    #[tokio::test]
    async fn letters_become_files_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (postbox, post) = super::post(&settings(Carrier::Folder(folder.path().to_owned())), "s").unwrap();
        postbox.put(letter("ada@example.com"));
        postbox.put(letter("not an address"));
        drop(postbox);
        post.run().await;
        let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().collect();
        let [file] = files.as_slice() else { panic!("{files:?}") };
        let text = std::fs::read_to_string(file.path()).unwrap();
        for line in ["To: ada@example.com", "Auto-Submitted: auto-generated", "multipart/alternative"] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[tokio::test]
    async fn a_full_box_takes_no_more_and_nobody_waits() {
        let (postbox, mut post) = super::post(&settings(Carrier::Stderr), "s").unwrap();
        for _ in 0..=WAITING {
            postbox.put(letter("ada@example.com"));
        }
        let mut taken = 0;
        while post.waiting.try_recv().is_ok() {
            taken += 1;
        }
        assert_eq!(taken, WAITING);
    }
}
