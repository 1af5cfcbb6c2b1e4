//! Settings: from the environment, else from a TOML file that may set the same names in lower case.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::ServiceTokens;
use billing::BadSettings;
use clap::ValueEnum;
use domain::clock::SystemClock;
use thiserror::Error;
use toml::Value;
use webhook_ingest::stripe::signature::Secrets;

use crate::keeper::Schedule;

/// Everything that can be set. Names that later parts of the service read are accepted already.
const NAMES: [&str; 17] = [
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
    "SMTP_URL",
    "RUST_LOG",
];

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
    /// How Stripe is asked, where there is a key.
    pub billing: Option<billing::Settings>,
    /// When Stripe is asked of our own accord.
    pub schedule: Schedule,
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
        let example = "whsec_… as shown beside the endpoint in Stripe's dashboard";
        let webhook_secrets = match self.get("STRIPE_WEBHOOK_SECRETS") {
            Some(text) => {
                let secrets = Secrets::parse(text)
                    .map_err(|error| bad("STRIPE_WEBHOOK_SECRETS", error.to_string(), example))?;
                Some(secrets)
            }
            None if role.ingests() => {
                let what = "is missing, so no webhook could be trusted";
                return Err(bad("STRIPE_WEBHOOK_SECRETS", what, example));
            }
            None => None,
        };
        let example = "django:access.read+members.write:a-long-random-token";
        let service_tokens = ServiceTokens::parse(self.get("SERVICE_TOKENS").unwrap_or_default())
            .map_err(|error| bad("SERVICE_TOKENS", error.to_string(), example))?;
        Ok(Config {
            listen: self.listen()?,
            database_url: self.database_url()?,
            webhook_secrets,
            livemode: self.livemode()?,
            catalog: self.get("CATALOG").map(PathBuf::from),
            service_tokens,
            billing: self.billing()?,
            schedule: self.schedule()?,
        })
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
        }
        assert!(settings(&[]).config(Role::All).unwrap_err().to_string().contains("STRIPE_WEBHOOK_SECRETS"));
        assert!(settings(&[]).config(Role::Api).is_ok());
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
