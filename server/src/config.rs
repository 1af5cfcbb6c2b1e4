//! Settings: from the environment, else from a TOML file that may set the same names in lower case.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use accounts::Keys;
use api::{Rate, ServiceTokens, TrustedProxies};
use axum::http::Uri;
use axum::http::uri::Authority;
use billing::BadSettings;
use clap::ValueEnum;
use domain::clock::SystemClock;
use lettre::message::Mailbox;
use openid::ProviderList;
use thiserror::Error;
use toml::Value;
use webhook_ingest::stripe::signature::Secrets;

use crate::keeper::Schedule;
use crate::limits::Limits;
use crate::mail;

/// Everything that can be set. Names that later parts of the service read are accepted already.
const NAMES: [&str; 27] = [
    "LISTEN",
    "PORT",
    "DATABASE_URL",
    "EVENT_STORE_URL",
    "STRIPE_WEBHOOK_SECRETS",
    "STRIPE_SECRET_KEY",
    "STRIPE_API_BASE",
    "STRIPE_LIVEMODE",
    "BACKFILL_EVERY",
    "RECONCILE_EVERY",
    "CATALOG",
    "SESSION_KEYS",
    "SERVICE_TOKENS",
    "PUBLIC_URL",
    "LEARN_ORIGINS",
    "OIDC_PROVIDERS",
    "SMTP_URL",
    "MAIL_FROM",
    "INDEX_SNAPSHOT",
    "RUST_LOG",
    "MAX_CONNECTIONS",
    "MAX_IN_FLIGHT",
    "SHUTDOWN_NOTICE",
    "TRUSTED_PROXIES",
    "RATE_LIMIT_SERVICE",
    "RATE_LIMIT_MEMBER",
    "RATE_LIMIT_SIGNED_OUT",
];

const PROVIDER: &str = "google|https://accounts.google.com|CLIENT_ID|CLIENT_SECRET";
const SENDER: &str = "Membership <no-reply@example.com>";

/// What is wrong with a setting. One line, which names it.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{name}: {what}; for example {example}")]
pub struct ConfigError {
    /// The setting.
    pub name: String,
    /// What is wrong.
    pub what: String,
    /// A value that would do.
    pub example: String,
}

/// Which part of the service a process does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Everything.
    #[default]
    All,
    /// Answers questions; takes no webhooks.
    Api,
    /// Takes webhooks and carries them out; answers health checks only.
    Ingest,
}

impl Role {
    /// Whether it takes webhooks.
    pub fn ingests(self) -> bool {
        self != Self::Api
    }

    /// Whether it answers the API.
    pub fn answers(self) -> bool {
        self != Self::Ingest
    }
}

/// The settings of a service.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The store.
    pub database_url: String,
    /// Who may sign webhooks.
    pub webhook_secrets: Option<Secrets>,
    /// Which of Stripe's modes is ours.
    pub livemode: Option<bool>,
    /// A catalogue to apply at start.
    pub catalog: Option<PathBuf>,
    /// The other back ends that may ask.
    pub service_tokens: ServiceTokens,
    /// The proxies whose word is taken for where a request comes from.
    pub trusted_proxies: TrustedProxies,
    /// How much is taken at once, and how long anything may take.
    pub limits: Limits,
    /// Where the access index is kept between starts, if anywhere.
    pub index_snapshot: Option<PathBuf>,
    /// How Stripe is asked, where there is a key.
    pub billing: Option<billing::Settings>,
    /// When Stripe is asked of our own accord.
    pub schedule: Schedule,
    /// How people sign in, where they can.
    pub sign_in: Option<SignIn>,
}

/// What a service needs to have people sign in.
#[derive(Debug, Clone)]
pub struct SignIn {
    /// What signs access tokens, and what is still believed.
    pub keys: Keys,
    /// Where this service is reached from outside: an origin as browsers write it.
    pub public_url: String,
    /// Other origins whose pages may ask with cookies.
    pub learn_origins: Vec<String>,
    /// How letters are sent; without it, what needs a letter is refused.
    pub mail: Option<MailSettings>,
    /// Who else may say who somebody is.
    pub providers: ProviderList,
}

impl SignIn {
    /// Whether cookies may only go over TLS.
    pub fn secure(&self) -> bool {
        self.public_url.starts_with("https://")
    }
}

/// How letters are sent.
#[derive(Clone, PartialEq, Eq)]
pub struct MailSettings {
    /// Where to.
    pub carrier: Carrier,
    /// Who they are from.
    pub from: Mailbox,
}

/// Who takes letters.
#[derive(Clone, PartialEq, Eq)]
pub enum Carrier {
    /// A mail server, by its URL.
    Smtp(String),
    /// A folder, in which every letter becomes a file.
    Folder(PathBuf),
    /// Whoever reads stderr, which is for the demo.
    Stderr,
}

impl fmt::Debug for MailSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailSettings").field("from", &self.from).finish_non_exhaustive()
    }
}

/// Where values come from.
#[derive(Debug, Default)]
pub struct Settings {
    values: BTreeMap<&'static str, String>,
}

impl Settings {
    /// The environment over a file. Without `file`, `membership.toml` in the working folder is used if it is there.
    pub fn read(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut settings = Self::default();
        let default = Path::new("membership.toml");
        if let Some(path) = file.or_else(|| default.exists().then_some(default)) {
            settings.read_file(path)?;
        }
        for name in NAMES {
            #[expect(clippy::disallowed_methods, reason = "this is where settings are read")]
            match std::env::var(name) {
                Ok(value) if !value.trim().is_empty() => drop(settings.values.insert(name, value)),
                Ok(_) | Err(std::env::VarError::NotPresent) => {}
                Err(std::env::VarError::NotUnicode(_)) => {
                    return Err(bad(name, "is not UTF-8 text", "a plain text value"));
                }
            }
        }
        Ok(settings)
    }

    fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let shown = path.display().to_string();
        let text = fs::read_to_string(path)
            .map_err(|error| bad(&shown, format!("cannot be read ({error})"), "--config membership.toml"))?;
        let table: toml::Table = toml::from_str(&text)
            .map_err(|error| bad(&shown, error.message().to_owned(), "listen = \"127.0.0.1:8080\""))?;
        for (key, value) in table {
            let Some(name) = NAMES.into_iter().find(|name| name.eq_ignore_ascii_case(&key)) else {
                let what = format!("{key} is not a setting");
                return Err(bad(&shown, what, "listen = \"127.0.0.1:8080\""));
            };
            let value = match value {
                Value::String(text) => text,
                Value::Boolean(flag) => flag.to_string(),
                Value::Integer(number) => number.to_string(),
                _ => return Err(bad(name, format!("in {shown} has to be text"), "a quoted text")),
            };
            self.values.insert(name, value);
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| value.trim())
    }

    /// The store; what commands that need nothing else read.
    pub fn database_url(&self) -> Result<String, ConfigError> {
        if self.get("EVENT_STORE_URL").is_some() {
            let what = "this version keeps events in the database only";
            return Err(bad("EVENT_STORE_URL", what, "leave it empty"));
        }
        let url = self.get("DATABASE_URL").unwrap_or("sqlite://membership.db");
        let known = ["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme));
        if known {
            Ok(url.to_owned())
        } else {
            // The value may hold a password, so it is not repeated.
            let example = "sqlite://membership.db or postgres://user:password@host/membership";
            Err(bad("DATABASE_URL", "begins with neither sqlite: nor postgres:", example))
        }
    }

    /// Which of Stripe's modes is ours: as set, else as the secret key tells, else either.
    pub fn livemode(&self) -> Result<Option<bool>, ConfigError> {
        let set = match self.get("STRIPE_LIVEMODE") {
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(other) => {
                return Err(bad("STRIPE_LIVEMODE", format!("is {other:?}, not true or false"), "true"));
            }
            None => None,
        };
        let Some(key) = self.get("STRIPE_SECRET_KEY") else { return Ok(set) };
        let of_mode =
            |mode: &str| ["sk", "rk"].iter().any(|kind| key.starts_with(&format!("{kind}_{mode}_")));
        let told = match (of_mode("live"), of_mode("test")) {
            (false, false) => {
                let what = "begins with none of sk_live_, sk_test_, rk_live_ and rk_test_";
                return Err(bad("STRIPE_SECRET_KEY", what, "sk_test_… from Stripe's dashboard"));
            }
            (live, _) => live,
        };
        if set.is_some_and(|set| set != told) {
            let what = format!("is {}, but STRIPE_SECRET_KEY is of the other mode", !told);
            return Err(bad("STRIPE_LIVEMODE", what, &told.to_string()));
        }
        Ok(Some(told))
    }

    /// How Stripe is asked, where there is a key.
    pub fn billing(&self) -> Result<Option<billing::Settings>, ConfigError> {
        let base = self.get("STRIPE_API_BASE").map(str::to_owned);
        let key = self.get("STRIPE_SECRET_KEY").map(str::to_owned);
        let settings = billing::Settings {
            key: key.clone().unwrap_or_default(),
            base,
            limits: billing::Limits::default(),
        };
        if settings.key.is_empty() && settings.base.is_none() {
            return Ok(None);
        }
        // An address is looked at even while there is no key to use it with.
        billing::Gateway::new(&settings, Arc::new(SystemClock)).map_err(|error| match error {
            BadSettings::Key => {
                bad("STRIPE_SECRET_KEY", error.to_string(), "sk_test_… from Stripe's dashboard")
            }
            BadSettings::Base(_) | BadSettings::Tls(_) => {
                bad("STRIPE_API_BASE", error.to_string(), "https://api.stripe.com")
            }
        })?;
        Ok(key.map(|_| settings))
    }

    /// When Stripe is asked of our own accord.
    fn schedule(&self) -> Result<Schedule, ConfigError> {
        let every = |name: &str, default: Duration, example: &str| match self.get(name) {
            None => Ok(Some(default)),
            Some("off") => Ok(None),
            Some(text) => humantime::parse_duration(text)
                .ok()
                .filter(|every| *every >= Duration::from_secs(1))
                .map(Some)
                .ok_or_else(|| {
                    bad(name, format!("{text:?} is neither off nor a time of a second or more"), example)
                }),
        };
        Ok(Schedule {
            backfill: every("BACKFILL_EVERY", Duration::from_mins(10), "10m")?,
            reconcile: every("RECONCILE_EVERY", Duration::from_hours(24), "24h")?,
        })
    }

    /// Everything the service needs in `role`.
    pub fn config(&self, role: Role) -> Result<Config, ConfigError> {
        let config = Config {
            webhook_secrets: self.webhook_secrets(role)?,
            service_tokens: self.service_tokens()?,
            listen: self.listen()?,
            database_url: self.database_url()?,
            livemode: self.livemode()?,
            catalog: self.catalog(),
            trusted_proxies: self.trusted_proxies()?,
            limits: self.limits()?,
            index_snapshot: self.index_snapshot()?,
            billing: self.billing()?,
            schedule: self.schedule()?,
            sign_in: self.sign_in(role)?,
        };
        Ok(config)
    }

    /// How people sign in; nothing where no keys are set, and in a role that answers nobody.
    fn sign_in(&self, role: Role) -> Result<Option<SignIn>, ConfigError> {
        // Looked at in any case, so that a mistake shows before keys are added.
        let (keys, public_url) = (self.session_keys()?, self.public_url()?);
        let (learn_origins, carrier) = (self.learn_origins()?, self.carrier()?);
        let providers = self.providers()?;
        let from = self.mail_from()?;
        let Some(keys) = keys.filter(|_| role.answers()) else { return Ok(None) };
        let public_url = match public_url {
            Some(url) => browsers_origin(&url),
            None => self.own_origin()?,
        };
        let mail = carrier.map(|carrier| -> Result<_, ConfigError> {
            let from = from.map_or_else(|| usual_sender(&public_url), Ok)?;
            Ok(MailSettings { carrier, from })
        });
        Ok(Some(SignIn { keys, mail: mail.transpose()?, public_url, learn_origins, providers }))
    }

    /// Where this service is reached when nobody else has to reach it.
    fn own_origin(&self) -> Result<String, ConfigError> {
        let listen = self.listen()?;
        if listen.ip().is_loopback() && listen.port() != 0 {
            return Ok(format!("http://{listen}"));
        }
        let what = "is missing, and SESSION_KEYS is set: letters name it, and cookies depend on it";
        Err(bad("PUBLIC_URL", what, "https://membership.example.com"))
    }

    /// Where links that are printed lead: as set, else where it would listen.
    pub fn reached_at(&self) -> Result<String, ConfigError> {
        self.demo_origin(self.listen()?)
    }

    /// The origin that `demo` is reached at: as set, else where it listens.
    pub fn demo_origin(&self, listening: SocketAddr) -> Result<String, ConfigError> {
        Ok(self.public_url()?.map_or_else(|| format!("http://{listening}"), |url| browsers_origin(&url)))
    }

    /// What `demo` has people sign in with: keys of its own where none are set, and letters on stderr.
    pub fn demo_sign_in(&self, listening: SocketAddr) -> Result<SignIn, ConfigError> {
        let keys = self.session_keys()?.map_or_else(made_up_keys, Ok)?;
        let public_url = self.demo_origin(listening)?;
        let from = self.mail_from()?.map_or_else(|| usual_sender(&public_url), Ok)?;
        let carrier = self.carrier()?.unwrap_or(Carrier::Stderr);
        Ok(SignIn {
            keys,
            mail: Some(MailSettings { carrier, from }),
            public_url,
            learn_origins: self.learn_origins()?,
            providers: self.providers()?,
        })
    }

    /// Everything that is wrong, each with its name, for whoever wants to mend it in one go.
    pub fn mistakes(&self, role: Role) -> Vec<ConfigError> {
        let looked = [
            self.webhook_secrets(role).err(),
            self.service_tokens().err(),
            self.listen().err(),
            self.database_url().err(),
            self.livemode().err(),
            self.public_url().err(),
            self.session_keys().err(),
            self.learn_origins().err(),
            self.providers().err(),
            self.carrier().err(),
            self.mail_from().err(),
            self.sign_in(role).err().filter(|mistake| mistake.what.starts_with("is missing")),
            self.trusted_proxies().err(),
            self.limits().err(),
            self.index_snapshot().err(),
            self.billing().err().filter(|_| self.livemode().is_ok()),
            self.schedule().err(),
        ];
        looked.into_iter().flatten().collect()
    }

    /// How many things are set.
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// A catalogue to apply at start.
    pub fn catalog(&self) -> Option<PathBuf> {
        self.get("CATALOG").map(PathBuf::from)
    }

    fn webhook_secrets(&self, role: Role) -> Result<Option<Secrets>, ConfigError> {
        let example = "whsec_… as shown beside the endpoint in Stripe's dashboard";
        match self.get("STRIPE_WEBHOOK_SECRETS") {
            Some(text) => {
                let secrets = Secrets::parse(text)
                    .map_err(|error| bad("STRIPE_WEBHOOK_SECRETS", error.to_string(), example))?;
                Ok(Some(secrets))
            }
            None if role.ingests() => {
                let what = "is missing, so no webhook could be trusted";
                Err(bad("STRIPE_WEBHOOK_SECRETS", what, example))
            }
            None => Ok(None),
        }
    }

    fn service_tokens(&self) -> Result<ServiceTokens, ConfigError> {
        let example = "django:access.read+members.write:a-long-random-token";
        ServiceTokens::parse(self.get("SERVICE_TOKENS").unwrap_or_default())
            .map_err(|error| bad("SERVICE_TOKENS", error.to_string(), example))
    }

    /// The proxies whose word is taken for where a request comes from.
    pub fn trusted_proxies(&self) -> Result<TrustedProxies, ConfigError> {
        TrustedProxies::parse(self.get("TRUSTED_PROXIES").unwrap_or_default())
            .map_err(|error| bad("TRUSTED_PROXIES", error.to_string(), "10.0.0.0/8,192.0.2.7"))
    }

    /// Where this service is reached from outside.
    pub fn public_url(&self) -> Result<Option<Uri>, ConfigError> {
        let read = |text| {
            let wrong = |what| bad("PUBLIC_URL", what, "https://membership.example.com");
            let url = origin(text).map_err(wrong)?;
            let plain = url.scheme_str() == Some("http");
            if plain && !url.host().is_some_and(is_loopback) {
                return Err(wrong(
                    "begins with http://, which only loopback may: cookies need https".to_owned(),
                ));
            }
            Ok(url)
        };
        self.get("PUBLIC_URL").map(read).transpose()
    }

    fn learn_origins(&self) -> Result<Vec<String>, ConfigError> {
        let example = "https://learn.example.com,https://www.example.com";
        let entries = self.get("LEARN_ORIGINS").unwrap_or_default();
        let read = |(entry, text): (usize, &str)| {
            origin(text.trim())
                .map(|url| browsers_origin(&url))
                .map_err(|what| bad("LEARN_ORIGINS", format!("entry {entry} {what}"), example))
        };
        (1..).zip(entries.split(',').filter(|_| !entries.is_empty())).map(read).collect()
    }

    /// Never says what it holds: part of it is secret.
    fn providers(&self) -> Result<ProviderList, ConfigError> {
        let Some(text) = self.get("OIDC_PROVIDERS") else { return Ok(ProviderList::default()) };
        ProviderList::parse(text).map_err(|error| bad("OIDC_PROVIDERS", error.to_string(), PROVIDER))
    }

    fn session_keys(&self) -> Result<Option<Keys>, ConfigError> {
        let example = "2026-11:BASE64, where BASE64 is what openssl rand -base64 32 prints";
        let read = |text| Keys::parse(text).map_err(|error| bad("SESSION_KEYS", error.to_string(), example));
        self.get("SESSION_KEYS").map(read).transpose()
    }

    /// Never says what it holds: it may be a password.
    fn carrier(&self) -> Result<Option<Carrier>, ConfigError> {
        let Some(text) = self.get("SMTP_URL") else { return Ok(None) };
        let wrong = |what: &str| bad("SMTP_URL", what, "smtps://user:password@mail.example.com:465");
        if let Some(folder) = text.strip_prefix("file://") {
            let folder = PathBuf::from(folder);
            let there = folder.is_absolute() && folder.is_dir();
            return there
                .then_some(Some(Carrier::Folder(folder)))
                .ok_or_else(|| wrong("names no folder that is there"));
        }
        let url: Uri = text
            .parse()
            .map_err(|_| wrong("is not a URL (write special characters of user and password as %-codes)"))?;
        let host = url.host().filter(|host| !host.is_empty());
        match url.scheme_str() {
            Some("smtp" | "smtps") => {}
            _ => return Err(wrong("begins with neither smtps:// nor smtp://")),
        }
        let host = host.ok_or_else(|| wrong("names no host"))?;
        let encrypted = url.scheme_str() == Some("smtps") || url.query() == Some("tls=required");
        if !encrypted && !is_loopback(host) {
            return Err(wrong(
                "would send letters in the clear; begin it with smtps://, or end it with ?tls=required",
            ));
        }
        if mail::can_be_used(text) {
            Ok(Some(Carrier::Smtp(text.to_owned())))
        } else {
            Err(wrong("cannot be used (write special characters of user and password as %-codes)"))
        }
    }

    fn mail_from(&self) -> Result<Option<Mailbox>, ConfigError> {
        let read = |text: &str| {
            text.parse().map_err(|_| bad("MAIL_FROM", format!("{text:?} is not an address"), SENDER))
        };
        self.get("MAIL_FROM").map(read).transpose()
    }

    /// How much is taken at once, and how long anything may take.
    pub fn limits(&self) -> Result<Limits, ConfigError> {
        let mut limits = Limits::default();
        limits.connections = self.number("MAX_CONNECTIONS", 1..=1_000_000, limits.connections)?;
        limits.requests.in_flight = self.number("MAX_IN_FLIGHT", 8..=100_000, limits.requests.in_flight)?;
        let seconds = self.number("SHUTDOWN_NOTICE", 0..=300, 0)?;
        limits.notice = Duration::from_secs(seconds as u64);
        limits.rates.service = self.rate("RATE_LIMIT_SERVICE", limits.rates.service)?;
        limits.rates.member = self.rate("RATE_LIMIT_MEMBER", limits.rates.member)?;
        limits.rates.signed_out = self.rate("RATE_LIMIT_SIGNED_OUT", limits.rates.signed_out)?;
        Ok(limits)
    }

    fn rate(&self, name: &str, usual: Option<Rate>) -> Result<Option<Rate>, ConfigError> {
        let Some(text) = self.get(name) else { return Ok(usual) };
        let example = usual.map_or_else(|| "off".to_owned(), |rate| rate.to_string());
        Rate::parse(text).map_err(|error| bad(name, error.to_string(), &example))
    }

    fn number(&self, name: &str, range: RangeInclusive<usize>, usual: usize) -> Result<usize, ConfigError> {
        let Some(text) = self.get(name) else { return Ok(usual) };
        text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
            let what = format!("{text:?} is not a number from {} to {}", range.start(), range.end());
            bad(name, what, &usual.to_string())
        })
    }

    /// Where the access index is kept between starts: as set, else beside a `SQLite` file; nowhere when switched off.
    pub fn index_snapshot(&self) -> Result<Option<PathBuf>, ConfigError> {
        let example = "/var/lib/membership/index, or off";
        match self.get("INDEX_SNAPSHOT") {
            Some("off") => Ok(None),
            Some(text) => {
                let path = PathBuf::from(text);
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let folder = folder.unwrap_or(Path::new("."));
                if path.is_dir() {
                    return Err(bad("INDEX_SNAPSHOT", format!("{text:?} is a folder, not a file"), example));
                }
                if !folder.is_dir() {
                    let what = format!("the folder {:?} is not there", folder.display().to_string());
                    return Err(bad("INDEX_SNAPSHOT", what, example));
                }
                Ok(Some(path))
            }
            None => {
                // A bad one is told by itself.
                let Ok(url) = self.database_url() else { return Ok(None) };
                let file = url.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path));
                Ok(file.map(|file| PathBuf::from(format!("{file}.index"))))
            }
        }
    }

    /// Where to listen.
    pub fn listen(&self) -> Result<SocketAddr, ConfigError> {
        if let Some(listen) = self.get("LISTEN") {
            return listen.parse().map_err(|_| {
                bad("LISTEN", format!("{listen:?} is not an address and port"), "127.0.0.1:8080")
            });
        }
        match self.get("PORT") {
            Some(port) => {
                let port = port
                    .parse()
                    .map_err(|_| bad("PORT", format!("{port:?} is not a port from 0 to 65535"), "8080"))?;
                Ok((Ipv4Addr::UNSPECIFIED, port).into())
            }
            None => Ok((Ipv4Addr::LOCALHOST, 8080).into()),
        }
    }
}

/// A key that nobody has had before and nobody will have again.
pub(crate) fn made_up_keys() -> Result<Keys, ConfigError> {
    let mut key = [0; 32];
    getrandom::fill(&mut key)
        .map_err(|error| bad("SESSION_KEYS", format!("none can be made ({error})"), "one:BASE64"))?;
    Ok(Keys::one("made-up", key))
}

/// Scheme, host and port, and nothing else.
fn origin(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|_| "is not a URL".to_owned())?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err("begins with neither https:// nor http://".to_owned());
    }
    let authority = url.authority().map(Authority::as_str).unwrap_or_default();
    if url.host().is_none_or(str::is_empty) || authority.contains('@') || authority.ends_with(':') {
        return Err("names no plain host, with or without a port".to_owned());
    }
    if url.path() != "/" || url.query().is_some() || text.contains('#') {
        return Err("says more than scheme, host and port".to_owned());
    }
    Ok(url)
}

/// An origin as browsers write it: in small letters, without a usual port.
fn browsers_origin(url: &Uri) -> String {
    let scheme = url.scheme_str().unwrap_or("https").to_ascii_lowercase();
    let host = url.host().unwrap_or_default().to_ascii_lowercase();
    let usual = if scheme == "https" { 443 } else { 80 };
    match url.port_u16().filter(|port| *port != usual) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}

/// Whether only this machine answers there.
fn is_loopback(host: &str) -> bool {
    let address: Result<IpAddr, _> = host.trim_matches(['[', ']']).parse();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn usual_sender(public_url: &str) -> Result<Mailbox, ConfigError> {
    let host =
        public_url.parse::<Uri>().ok().and_then(|url| url.host().map(str::to_owned)).unwrap_or_default();
    // An address of this machine takes no letters, so it does not matter which name it has.
    let host = if is_loopback(&host) { "localhost".to_owned() } else { host };
    let what = "is missing, and PUBLIC_URL names no host that could send letters";
    format!("Membership <no-reply@{host}>").parse().map_err(|_| bad("MAIL_FROM", what, SENDER))
}

/// Where a collector of traces is; the standard name, which the exporter reads too.
pub(crate) const COLLECTOR: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// The collector of traces, if there is one.
pub(crate) fn collector() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "this is where settings are read")]
    std::env::var(COLLECTOR).ok().filter(|url| !url.trim().is_empty())
}

/// A URL that was looked at and still cannot be used.
pub(crate) fn bad_smtp_url(error: impl fmt::Display) -> ConfigError {
    bad("SMTP_URL", format!("cannot be used ({error})"), "smtps://user:password@mail.example.com:465")
}

/// Providers that were looked at and still cannot be asked.
pub(crate) fn bad_providers(error: impl fmt::Display) -> ConfigError {
    bad("OIDC_PROVIDERS", format!("cannot be used ({error})"), PROVIDER)
}

fn bad(name: &str, what: impl Into<String>, example: &str) -> ConfigError {
    ConfigError { name: name.to_owned(), what: what.into(), example: example.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&'static str, &str)]) -> Settings {
        Settings { values: pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect() }
    }

    const SECRETS: (&str, &str) = ("STRIPE_WEBHOOK_SECRETS", "whsec_1");

    #[test]
    fn what_is_not_set_has_its_default() {
        let config = settings(&[SECRETS]).config(Role::All).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.database_url, "sqlite://membership.db");
        assert_eq!(config.livemode, None);
    }

    #[test]
    fn the_index_is_kept_beside_a_file_and_nowhere_else_unless_told_to() {
        let snapshot = |pairs: &[(&'static str, &str)]| settings(pairs).index_snapshot().unwrap();
        assert_eq!(snapshot(&[]), Some("membership.db.index".into()));
        assert_eq!(snapshot(&[("DATABASE_URL", "sqlite:///data/m.db")]), Some("/data/m.db.index".into()));
        let postgres = ("DATABASE_URL", "postgres://localhost/m");
        assert_eq!(snapshot(&[postgres]), None);
        assert_eq!(snapshot(&[postgres, ("INDEX_SNAPSHOT", "here.index")]), Some("here.index".into()));
        assert_eq!(snapshot(&[("INDEX_SNAPSHOT", "off")]), None);
    }

    #[test]
    fn a_port_alone_listens_everywhere() {
        let config = settings(&[SECRETS, ("PORT", "9000")]).config(Role::All).unwrap();
        assert_eq!(config.listen.to_string(), "0.0.0.0:9000");
    }

    #[test]
    fn a_bad_setting_is_named_in_one_line_with_an_example() {
        let cases = [
            ("LISTEN", "here"),
            ("PORT", "99999"),
            ("DATABASE_URL", "mysql://secret@x"),
            ("STRIPE_WEBHOOK_SECRETS", "sk_test_1"),
            ("STRIPE_LIVEMODE", "yes"),
            ("SERVICE_TOKENS", "django:fly:short"),
            ("EVENT_STORE_URL", "kurrentdb://x"),
            ("STRIPE_SECRET_KEY", "pk_test_1"),
            ("MAX_CONNECTIONS", "0"),
            ("MAX_IN_FLIGHT", "7"),
            ("MAX_IN_FLIGHT", "many"),
            ("SHUTDOWN_NOTICE", "301"),
            ("TRUSTED_PROXIES", "10.0.0.0/8,proxy"),
            ("RATE_LIMIT_SERVICE", "100"),
            ("RATE_LIMIT_MEMBER", "0/1"),
            ("RATE_LIMIT_SIGNED_OUT", "never"),
            ("INDEX_SNAPSHOT", "/"),
            ("INDEX_SNAPSHOT", "/no/such/folder/index"),
            ("PUBLIC_URL", "membership.example.com"),
            ("PUBLIC_URL", "https://membership.example.com/app"),
            ("PUBLIC_URL", "ftp://membership.example.com"),
            ("LEARN_ORIGINS", "https://a.example,b.example"),
            ("LEARN_ORIGINS", "*"),
            ("LEARN_ORIGINS", "https://a.example,,"),
            ("LEARN_ORIGINS", "https://user:secret@a.example"),
            ("SESSION_KEYS", "secret@"),
            ("SESSION_KEYS", "one:secret@"),
            ("SESSION_KEYS", "one:c2VjcmV0"),
            ("SESSION_KEYS", "a b:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
            (
                "SESSION_KEYS",
                "a:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=,a:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
            ),
            ("OIDC_PROVIDERS", "google"),
            ("OIDC_PROVIDERS", "google|http://accounts.google.com|id|secret@"),
            ("OIDC_PROVIDERS", "google|https://accounts.google.com|id|secret@,"),
            ("SMTP_URL", "mail.example.com"),
            ("SMTP_URL", "smtp://"),
            ("SMTP_URL", "https://user:secret@mail.example.com"),
            ("SMTP_URL", "smtp://user:secret@mail.example.com:587"),
            ("SMTP_URL", "smtp://user:secret@mail.example.com:587?tls=opportunistic"),
            ("SMTP_URL", "file://relative"),
            ("SMTP_URL", "file:///no/such/folder"),
            ("MAIL_FROM", "nobody"),
            ("PUBLIC_URL", "http://membership.example.com"),
            ("STRIPE_API_BASE", "api.stripe.com"),
            ("STRIPE_API_BASE", "ftp://api.stripe.com"),
            ("BACKFILL_EVERY", "often"),
            ("RECONCILE_EVERY", "1ms"),
        ];
        for (name, value) in cases {
            let mut values = settings(&[SECRETS]);
            values.values.insert(name, value.to_owned());
            let line = values.config(Role::All).unwrap_err().to_string();
            assert!(line.starts_with(name) && line.contains("for example") && !line.contains('\n'), "{line}");
            assert!(!line.contains("secret@"), "{line}");
            assert_eq!(values.mistakes(Role::All).len(), 1, "{name} {value}");
        }
        assert!(settings(&[]).config(Role::All).unwrap_err().to_string().contains("STRIPE_WEBHOOK_SECRETS"));
        assert!(settings(&[]).config(Role::Api).is_ok());
    }

    #[test]
    fn limits_can_be_set_and_have_defaults() {
        let usual = settings(&[SECRETS]).config(Role::All).unwrap().limits;
        assert_eq!(usual, Limits::default());
        let set = [SECRETS, ("MAX_CONNECTIONS", "7"), ("MAX_IN_FLIGHT", "11"), ("SHUTDOWN_NOTICE", "5")];
        let set = settings(&set).config(Role::All).unwrap().limits;
        assert_eq!((set.connections, set.requests.in_flight, set.notice.as_secs()), (7, 11, 5));
    }

    #[test]
    fn good_settings_of_later_parts_are_taken() {
        let key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
        let keys = format!("2026-11:{key}, old.1:{key}");
        let good = [
            SECRETS,
            ("PUBLIC_URL", "https://membership.example.com:8443/"),
            ("LEARN_ORIGINS", "https://learn.example.com, http://127.0.0.1:5173"),
            ("SESSION_KEYS", &keys),
            ("SMTP_URL", "smtps://user:pass%40word@mail.example.com:465"),
        ];
        assert!(settings(&good).config(Role::All).is_ok());
    }

    const KEY: (&str, &str) = ("SESSION_KEYS", "one:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=");

    #[test]
    fn people_sign_in_only_where_there_are_keys() {
        let sign_in = |pairs: &[(&'static str, &str)], role| settings(pairs).config(role).unwrap().sign_in;
        assert!(sign_in(&[SECRETS, ("PUBLIC_URL", "https://a.example")], Role::All).is_none());
        assert!(sign_in(&[SECRETS, KEY], Role::Ingest).is_none());
        let here = sign_in(&[SECRETS, KEY], Role::All).unwrap();
        assert_eq!((here.public_url.as_str(), here.secure()), ("http://127.0.0.1:8080", false));
        assert!(here.mail.is_none());
        let url = ("PUBLIC_URL", "HTTPS://Membership.Example.COM:443/");
        let there = sign_in(&[SECRETS, KEY, url, ("SMTP_URL", "smtp://127.0.0.1:2525")], Role::Api).unwrap();
        assert_eq!((there.public_url.as_str(), there.secure()), ("https://membership.example.com", true));
        let from = there.mail.unwrap().from;
        assert_eq!(from.to_string(), "Membership <no-reply@membership.example.com>");
    }

    #[test]
    fn a_service_that_others_reach_has_to_be_told_its_name_before_people_sign_in() {
        let mistake = settings(&[SECRETS, KEY, ("PORT", "8080")]).config(Role::All).unwrap_err();
        assert_eq!(mistake.name, "PUBLIC_URL");
        let listed = settings(&[SECRETS, KEY, ("PORT", "8080")]).mistakes(Role::All);
        assert_eq!(listed, [mistake]);
    }

    #[test]
    fn origins_are_compared_as_browsers_write_them() {
        let origins =
            ("LEARN_ORIGINS", "https://Learn.Example.com:443, http://localhost:5173/, http://[::1]:80");
        let read = settings(&[origins]).learn_origins().unwrap();
        assert_eq!(read, ["https://learn.example.com", "http://localhost:5173", "http://[::1]"]);
    }

    #[test]
    fn letters_go_encrypted_or_no_further_than_this_machine() {
        for url in [
            "smtps://user:pass%40word@mail.example.com:465",
            "smtp://user:password@mail.example.com:587?tls=required",
            "smtp://localhost:2525",
            "smtp://127.0.0.1:2525",
            "file:///",
        ] {
            assert!(settings(&[("SMTP_URL", url)]).carrier().is_ok_and(|carrier| carrier.is_some()), "{url}");
        }
    }

    #[test]
    fn a_demo_makes_keys_of_its_own() {
        let listening = "127.0.0.1:9000".parse().unwrap();
        let made = settings(&[]).demo_sign_in(listening).unwrap();
        assert_eq!(made.public_url, "http://127.0.0.1:9000");
        assert_eq!(made.mail.unwrap().from.to_string(), "Membership <no-reply@localhost>");
        assert!(settings(&[("SESSION_KEYS", "short")]).demo_sign_in(listening).is_err());
    }

    #[test]
    fn all_mistakes_are_named_at_once() {
        let wrong = settings(&[("LISTEN", "here"), ("STRIPE_LIVEMODE", "yes"), ("SMTP_URL", "x")]);
        let names: Vec<_> = wrong.mistakes(Role::All).into_iter().map(|mistake| mistake.name).collect();
        assert_eq!(names, ["STRIPE_WEBHOOK_SECRETS", "LISTEN", "STRIPE_LIVEMODE", "SMTP_URL"]);
    }

    #[test]
    fn the_secret_key_tells_the_mode_where_nothing_else_does() {
        for (key, mode) in [("sk_live_1", Some(true)), ("rk_test_1", Some(false))] {
            assert_eq!(settings(&[("STRIPE_SECRET_KEY", key)]).livemode(), Ok(mode));
        }
        let both = settings(&[("STRIPE_SECRET_KEY", "sk_live_1"), ("STRIPE_LIVEMODE", "false")]);
        assert_eq!(both.livemode().unwrap_err().name, "STRIPE_LIVEMODE");
    }
}
