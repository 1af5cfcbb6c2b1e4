//! Letters: what they say, and how they are sent.

mod words;

use std::path::Path;
use std::time::Duration;

use accounts::{Letter, MailError, Mailer};
use askama::Template;
use async_trait::async_trait;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp;
use lettre::{AsyncFileTransport, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use crate::config::{Carrier, MailSettings};
use words::Words;

type Smtp = AsyncSmtpTransport<Tokio1Executor>;

/// How long a mail server may take for a step of taking a letter.
const PATIENCE: Duration = Duration::from_secs(20);

/// Writes letters and hands them over.
pub(crate) struct Post {
    carrier: Transport,
    from: Mailbox,
    public_url: String,
}

enum Transport {
    Smtp(Smtp),
    Folder(AsyncFileTransport<Tokio1Executor>),
    Stderr,
    Nobody,
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

/// Whether letters could be sent to this URL, as far as one can tell without doing it.
pub(crate) fn can_be_used(url: &str) -> bool {
    Smtp::from_url(url).is_ok()
}

impl Post {
    /// Sends letters as `settings` say, with links into the service at `public_url`.
    pub(crate) fn new(settings: &MailSettings, public_url: &str) -> Result<Self, smtp::Error> {
        let carrier = match &settings.carrier {
            Carrier::Smtp(url) => Transport::Smtp(Smtp::from_url(url)?.timeout(Some(PATIENCE)).build()),
            Carrier::Folder(folder) => Transport::Folder(AsyncFileTransport::new::<&Path>(folder)),
            Carrier::Stderr => Transport::Stderr,
        };
        Ok(Self { carrier, from: settings.from.clone(), public_url: public_url.to_owned() })
    }

    /// Sends nothing: for a service whose routes refuse what needs a letter.
    pub(crate) fn none() -> Self {
        let from = Mailbox::new(None, lettre::Address::new_dangerous("nobody", "localhost"));
        Self { carrier: Transport::Nobody, from, public_url: String::new() }
    }

    fn message(&self, to: &str, words: &Words) -> Result<Message, MailError> {
        let lasting = |error: &dyn std::fmt::Display| MailError::Lasting(error.to_string());
        let Words { subject, before, link, after } = words;
        let (link, label) = link.as_ref().map(|(link, label)| (link.as_str(), *label)).unzip();
        let service = self.public_url.as_str();
        let text = Text { before, link, after, service }.render().map_err(|error| lasting(&error))?;
        let html = Html { subject, before, link, label: label.unwrap_or_default(), after, service };
        let html = html.render().map_err(|error| lasting(&error))?;
        // The address is never told: what is told ends up in logs.
        let to = to.parse().map_err(|_| MailError::Lasting("the address cannot be written to".to_owned()))?;
        // Nobody's holiday answer has to come back.
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(*subject)
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
            .multipart(MultiPart::alternative_plain_html(text, html))
            .map_err(|error| lasting(&error))
    }

    async fn hand_over(&self, to: &str, words: &Words) -> Result<(), MailError> {
        let message = self.message(to, words)?;
        match &self.carrier {
            Transport::Smtp(server) => server.send(message).await.map(drop).map_err(|error| refused(&error)),
            Transport::Folder(folder) => {
                folder.send(message).await.map(drop).map_err(|error| MailError::Passing(error.to_string()))
            }
            Transport::Stderr => {
                show(to, words);
                Ok(())
            }
            Transport::Nobody => Err(MailError::Lasting("SMTP_URL is not set".to_owned())),
        }
    }
}

#[async_trait]
impl Mailer for Post {
    async fn send(&self, to: &str, letter: &Letter) -> Result<(), MailError> {
        self.hand_over(to, &Words::of(letter, &self.public_url)).await
    }
}

/// What a mail server says often repeats the address, so only its code is told.
fn refused(error: &smtp::Error) -> MailError {
    let told = error.status().map(|code| format!("the mail server answered {code}"));
    let told = told.unwrap_or_else(|| {
        let what = if error.is_timeout() { "did not answer in time" } else { "cannot be reached" };
        format!("the mail server {what}")
    });
    if error.is_permanent() { MailError::Lasting(told) } else { MailError::Passing(told) }
}

#[expect(clippy::print_stderr, reason = "this is how the demo's letters reach whoever tries it")]
fn show(to: &str, words: &Words) {
    let Words { subject, before, link, .. } = words;
    let link = link.as_ref().map(|(link, _)| format!("\n    {link}")).unwrap_or_default();
    eprintln!("\n  A letter to {to}: {subject}\n    {}{link}\n", before.join("\n    "));
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "https://membership.example.com/x#token=t&u=1";

    fn words() -> Words {
        Words {
            subject: "Confirm your e-mail address",
            before: vec!["Hello <b>Ada</b>.".to_owned()],
            link: Some((LINK.to_owned(), "Confirm")),
            after: vec!["Goodbye.".to_owned()],
        }
    }

    fn post(carrier: Carrier) -> Post {
        let from = "Membership <no-reply@example.com>".parse().unwrap();
        Post::new(&MailSettings { carrier, from }, "https://membership.example.com").unwrap()
    }

    #[test]
    fn a_letter_says_the_same_in_text_and_in_html_and_nothing_in_it_is_markup() {
        let Words { subject, before, after, .. } = words();
        let (before, after, link, service) = (before.as_slice(), after.as_slice(), Some(LINK), "s");
        let text = Text { before, link, after, service }.render().unwrap();
        assert_eq!(text, format!("Hello <b>Ada</b>.\n\n{LINK}\n\nGoodbye.\n\n--\ns"));
        let html = Html { subject, before, link, label: "Confirm", after, service }.render().unwrap();
        let written = LINK.replace('&', "&#38;");
        assert!(!html.contains("<b>") && html.contains(&format!("href=\"{written}\"")), "{html}");
    }

    #[test]
    fn an_address_cannot_add_lines_or_addresses() {
        let post = post(Carrier::Stderr);
        let more = "ada@example.com\r\nBcc: eve@evil.example";
        for to in [more, "ada@example.com, eve@evil.example", "Ada <ada@example.com>", ""] {
            assert!(matches!(post.message(to, &words()), Err(MailError::Lasting(_))), "{to:?}");
        }
        assert!(post.message("ada@example.com", &words()).is_ok());
    }

    #[tokio::test]
    async fn letters_become_files_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let post = post(Carrier::Folder(folder.path().to_owned()));
        let letter =
            Letter::VerifyEmail { token: "a-token".to_owned(), expires_at: chrono::DateTime::UNIX_EPOCH };
        post.send("ada@example.com", &letter).await.unwrap();
        let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().collect();
        let [file] = files.as_slice() else { panic!("{files:?}") };
        let text = std::fs::read_to_string(file.path()).unwrap();
        for line in
            ["To: ada@example.com", "Auto-Submitted: auto-generated", "multipart/alternative", "a-token"]
        {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[tokio::test]
    async fn a_mail_server_that_is_not_there_may_be_there_later() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("smtp://{}", taken.local_addr().unwrap());
        drop(taken);
        let sent = post(Carrier::Smtp(url)).send("ada@example.com", &Letter::AccountDeleted).await;
        assert_eq!(sent, Err(MailError::Passing("the mail server cannot be reached".to_owned())));
    }
}
